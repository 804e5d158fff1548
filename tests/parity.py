"""Episodes that the paper's published code played: inputs, arrivals, decisions, delays and queues.

``environment_small.npz`` has 4 stations, 8 slots and at most 6 tasks; ``environment_paper.npz`` is the paper's setting.
The published code leaves out an episode's last slot. NaN and -1 mean that there is no task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lad_rllib.simulator import Arrivals, EdgeNetwork, SlotTasks, TaskAttributes, stack_arrivals

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class PublishedEpisode:
    """What the published code computed; axes T slots played, B stations, N tasks, A servers."""

    network: EdgeNetwork
    attributes: TaskAttributes
    arrivals: Arrivals
    actions: np.ndarray
    delays_s: np.ndarray
    queue_gcycles: np.ndarray

    @property
    def num_slots(self) -> int:
        """Number of slots played."""
        return len(self.actions)


def published_episode(setting: str, decided_by: str) -> PublishedEpisode:
    """Load an episode: ``setting`` is "small" or "paper", ``decided_by`` is "random" or "greedy"."""
    data = np.load(DATA / f"environment_{setting}.npz")
    prefix = {"random": "", "greedy": "greedy_"}[decided_by]
    attributes = TaskAttributes(*(data[k] for k in ("denoising_steps", "density_gcycles_per_step", "result_mbit")))
    task_mbit = data["task_mbit"]
    arrivals = Arrivals(
        task_counts=data["task_counts"].astype(np.int64),
        task_mbit=task_mbit,
        denoising_steps=np.broadcast_to(attributes.denoising_steps, task_mbit.shape),
        density_gcycles_per_step=np.broadcast_to(attributes.density_gcycles_per_step, task_mbit.shape),
        result_mbit=np.broadcast_to(attributes.result_mbit, task_mbit.shape),
    )
    played = len(task_mbit) - 1
    return PublishedEpisode(
        network=EdgeNetwork(task_mbit.shape[1], data["capacity_gcycles_per_s"], data["link_rate_mbit_per_s"]),
        attributes=attributes,
        arrivals=stack_arrivals([arrivals]),
        actions=data[prefix + "actions"][:played].astype(np.int64),
        delays_s=data[prefix + "delays_s"][:played],
        queue_gcycles=data[prefix + "queue_gcycles"][:played],
    )


class GivenActions:
    """A scheduler that repeats given decisions, shape (E, T, B, N)."""

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions

    def reset(self, num_episodes: int) -> None:
        """Nothing to forget."""

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> np.ndarray:
        """The decisions given for this slot."""
        return self.actions[:, tasks.slot]
