"""The edge simulator: queues and service delays of E episodes in lockstep, slot by slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator import delays
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.seen_queues import SeenQueues
from lad_rllib.simulator.tasks import Arrivals


@dataclass(frozen=True)
class SlotTasks:
    """What is known at the start of a slot. All arrays carry the leading axis E (episodes).

    Attributes:
        slot: Index of the slot.
        network: The edge network.
        queue_gcycles: Work queued at each server [Gcycle], shape (E, A).
        task_counts: Tasks that arrived, shape (E, B).
        mask: True where there is a task, shape (E, B, N).
        task_mbit: Input size [Mbit], shape (E, B, N).
        workload_gcycles: Work, 0 where there is no task [Gcycle], shape (E, B, N).
        result_mbit: Result size [Mbit], shape (E, B, N).
        revealed: The same slot with the true work and queues, where those above are estimates. For oracles only.
    """

    slot: int
    network: EdgeNetwork
    queue_gcycles: NDArray[np.float64]
    task_counts: NDArray[np.int64]
    mask: NDArray[np.bool_]
    task_mbit: NDArray[np.float64]
    workload_gcycles: NDArray[np.float64]
    result_mbit: NDArray[np.float64]
    revealed: SlotTasks | None = None


def tasks_of_slot(
    network: EdgeNetwork,
    arrivals: Arrivals,
    slot: int,
    queue_gcycles: NDArray[np.float64],
    seen_queue_gcycles: NDArray[np.float64] | None = None,
) -> SlotTasks:
    """What is known at the start of a slot of E episodes.

    Args:
        network: The edge network.
        arrivals: Arrivals of E episodes.
        slot: Index of the slot.
        queue_gcycles: Work queued at each server, shape (E, A) [Gcycle].
        seen_queue_gcycles: The same as schedulers see it, where arrivals do not show their work; None: as it is.
    """
    revealed = SlotTasks(
        slot=slot,
        network=network,
        queue_gcycles=queue_gcycles,
        task_counts=arrivals.task_counts[:, slot],
        mask=arrivals.mask[:, slot],
        task_mbit=arrivals.task_mbit[:, slot],
        workload_gcycles=arrivals.workload_gcycles[:, slot],
        result_mbit=arrivals.result_mbit[:, slot],
    )
    if arrivals.shown_workload_gcycles is None:
        return revealed
    return replace(
        revealed,
        workload_gcycles=arrivals.shown_workload_gcycles[:, slot],
        queue_gcycles=queue_gcycles if seen_queue_gcycles is None else seen_queue_gcycles,
        revealed=revealed,
    )


@dataclass(frozen=True)
class SlotDelays:
    """Service delay of every task of a slot and its parts [s]; 0 where there is no task. Shapes (E, B, N)."""

    upload_s: NDArray[np.float64]
    waiting_s: NDArray[np.float64]
    computing_s: NDArray[np.float64]
    download_s: NDArray[np.float64]

    @property
    def total_s(self) -> NDArray[np.float64]:
        """Service delay: transmission + waiting + computing [s]."""
        return self.upload_s + self.waiting_s + self.computing_s + self.download_s


def slot_delays(tasks: SlotTasks, action: NDArray[np.integer]) -> tuple[SlotDelays, NDArray[np.float64]]:
    """Delays of a slot's tasks on their servers, and the work that each server is sent.

    Args:
        tasks: The slot, with the true work and queues.
        action: Server of each task, shape (E, B, N); any server where there is no task.

    Returns:
        The delays, and the work sent [Gcycle], shape (E, A).

    Raises:
        IndexError: if a task is sent to a server that does not exist.
    """
    network, mask = tasks.network, tasks.mask
    least, greatest, servers = action.min(), action.max(), network.num_servers
    if least < 0 or greatest >= servers:
        raise IndexError(f"a task was sent to server {greatest if least >= 0 else least}; servers are 0..{servers - 1}")
    work, flat = tasks.workload_gcycles, action.reshape(len(mask), -1)
    before, sent = delays.work_before_in_slot_gcycles(work.reshape(len(mask), -1), flat, servers)
    queue = np.take_along_axis(tasks.queue_gcycles, flat, axis=1)
    capacity, link_rate = network.capacity_gcycles_per_s[action], network.link_rate_mbit_per_s[action]
    waiting = delays.waiting_delay_s(queue.reshape(mask.shape), before.reshape(mask.shape), capacity)
    upload = delays.upload_delay_s(tasks.task_mbit, link_rate, action == network.home_server[:, None])
    download = delays.download_delay_s(tasks.result_mbit, link_rate)
    result = SlotDelays(
        upload_s=np.where(mask, upload, 0.0),
        waiting_s=np.where(mask, waiting, 0.0),
        computing_s=delays.computing_delay_s(work, capacity),
        download_s=np.where(mask, download, 0.0),
    )
    return result, sent


class EdgeSimulator:
    """Plays arrivals slot by slot: offloading decisions in, service delays and queues out.

    E episodes run in lockstep and do not affect each other: the result equals E single runs.

    Args:
        network: The edge network.
        arrivals: Arrivals of E episodes (see :func:`~lad_rllib.simulator.tasks.stack_arrivals`).
    """

    def __init__(self, network: EdgeNetwork, arrivals: Arrivals) -> None:
        if arrivals.task_counts.ndim != 3:
            raise ValueError("arrivals need the leading episode axis; use stack_arrivals([...])")
        if arrivals.task_counts.shape[-1] != network.num_stations:
            raise ValueError(
                f"arrivals have {arrivals.task_counts.shape[-1]} base stations, the network {network.num_stations}"
            )
        self.network = network
        self.arrivals = arrivals
        self.slot = 0
        self.queue_gcycles = np.zeros((arrivals.task_counts.shape[0], network.num_servers))
        self._seen = SeenQueues(*self.queue_gcycles.shape) if arrivals.shown_workload_gcycles is not None else None

    @property
    def tasks(self) -> SlotTasks:
        """The tasks and queues that the current slot's decisions are based on."""
        return tasks_of_slot(self.network, self.arrivals, self.slot, self.queue_gcycles, self.seen_queue_gcycles)

    @property
    def seen_queue_gcycles(self) -> NDArray[np.float64]:
        """Work that schedulers see queued at each server [Gcycle], shape (E, A); all of it if they know the work."""
        return self.queue_gcycles if self._seen is None else self._seen.queue_gcycles.copy()

    def step(self, action: NDArray[np.integer]) -> SlotDelays:
        """Send every task of the slot to its server and move on to the next slot.

        Args:
            action: Server of each task, shape (E, B, N); values where there is no task are ignored.

        Returns:
            The delays of the slot's tasks.

        Raises:
            IndexError: if a task is sent to a server that does not exist.
        """
        shown = self.tasks
        tasks = shown.revealed or shown
        action = np.where(tasks.mask, action, 0)
        result, sent = slot_delays(tasks, action)
        if self._seen is not None:
            done = self.network.capacity_gcycles_per_s * self.network.slot_s
            self._seen.advance(tasks.mask, action, tasks.workload_gcycles, shown.workload_gcycles, done)
        self.queue_gcycles = delays.next_queue_gcycles(
            self.queue_gcycles, sent, self.network.capacity_gcycles_per_s, self.network.slot_s
        )
        self.slot += 1
        return result
