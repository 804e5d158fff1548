"""Play a scheduler on given arrivals and record every task's delay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.scheduler import Scheduler
from lad_rllib.simulator.episode import EdgeSimulator, SlotTasks
from lad_rllib.simulator.marginal_cost import PlayedEpisodes
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals


@dataclass(frozen=True)
class EpisodeRecord(PlayedEpisodes):
    """E episodes of T slots as they were played, with the delay of every task.

    Attributes:
        upload_s, waiting_s, computing_s, download_s: Parts of the service delay [s], shape (E, T, B, N).
    """

    upload_s: NDArray[np.float64]
    waiting_s: NDArray[np.float64]
    computing_s: NDArray[np.float64]
    download_s: NDArray[np.float64]

    @property
    def delay_s(self) -> NDArray[np.float64]:
        """Service delay of each task [s], shape (E, T, B, N)."""
        return self.upload_s + self.waiting_s + self.computing_s + self.download_s

    @property
    def mean_delay_s(self) -> float:
        """Mean service delay over all tasks of all episodes [s]."""
        return float(self.delay_s.sum() / max(self.mask.sum(), 1))

    @property
    def episode_mean_delay_s(self) -> NDArray[np.float64]:
        """Mean service delay of each episode [s], shape (E,)."""
        axes = (1, 2, 3)
        return self.delay_s.sum(axis=axes) / np.maximum(self.mask.sum(axis=axes), 1)

    def percentile_s(self, q: float) -> float:
        """Percentile of the service delay over all tasks [s]."""
        delays = self.delay_s[self.mask]
        return float(np.percentile(delays, q)) if delays.size else 0.0

    @property
    def utilisation(self) -> NDArray[np.float64]:
        """Share of the time that each server was busy, mean over episodes, shape (A,).

        Work done (sent less what is still queued at the end) over what the server could have done.
        """
        servers = np.arange(self.network.num_servers)
        sent = np.stack([(self.workload_gcycles * (self.action == a)).sum(axis=(1, 2, 3)) for a in servers], axis=1)
        could = self.network.capacity_gcycles_per_s * self.network.slot_s * self.mask.shape[1]
        return ((sent - self.queue_gcycles[:, -1]) / could).mean(axis=0)


class GivenDecisions:
    """A scheduler that replays given decisions.

    Args:
        action: Server of each task of E episodes, shape (E, T, B, N).
    """

    def __init__(self, action: NDArray[np.int64]) -> None:
        self._action = action

    def reset(self, num_episodes: int) -> None:
        """Refuse another number of episodes than there are decisions for."""
        if num_episodes != len(self._action):
            raise ValueError(f"decisions for {len(self._action)} episodes cannot be replayed in {num_episodes}")

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> NDArray[np.int64]:
        """See :class:`~lad_rllib.scheduling.scheduler.Scheduler`."""
        return self._action[:, tasks.slot]


def play(
    scheduler: Scheduler,
    network: EdgeNetwork,
    arrivals: Arrivals,
    rng: np.random.Generator,
    num_slots: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> EpisodeRecord:
    """Let a scheduler serve the arrivals of E episodes.

    Args:
        scheduler: The scheduler.
        network: Where the tasks run.
        arrivals: Arrivals of E episodes with the leading axis E.
        rng: Randomness of the scheduler's decisions.
        num_slots: Slots to play; default all. The published experiments leave out an episode's last slot.
        progress: Called with the number of slots played so far.
    """
    simulator = EdgeSimulator(network, arrivals)
    scheduler.reset(len(arrivals.task_counts))
    slots = arrivals.num_slots if num_slots is None else num_slots
    actions, parts, queues = [], [], [simulator.queue_gcycles]
    for slot in range(slots):
        tasks = simulator.tasks
        action = np.where(tasks.mask, scheduler.decide(tasks, rng), -1)
        parts.append(simulator.step(action))
        actions.append(action)
        queues.append(simulator.queue_gcycles)
        if progress is not None:
            progress(slot + 1)
    names = ("upload_s", "waiting_s", "computing_s", "download_s")
    return EpisodeRecord(
        network=network,
        mask=arrivals.mask[:, :slots],
        task_mbit=arrivals.task_mbit[:, :slots],
        workload_gcycles=arrivals.workload_gcycles[:, :slots],
        result_mbit=arrivals.result_mbit[:, :slots],
        action=np.stack(actions, axis=1),
        queue_gcycles=np.stack(queues, axis=1),
        **{name: np.stack([getattr(part, name) for part in parts], axis=1) for name in names},
    )
