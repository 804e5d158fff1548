"""The one interface of everything that decides where tasks go."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator.episode import SlotTasks


@runtime_checkable
class Scheduler(Protocol):
    """Decides, at the start of a slot, which edge server each of its tasks goes to.

    Implementations: the heuristics in :mod:`lad_rllib.scheduling.heuristics` and trained policies.
    """

    def reset(self, num_episodes: int) -> None:
        """Forget what belongs to an episode; ``num_episodes`` episodes E start in lockstep."""
        ...

    def decide(self, tasks: SlotTasks, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose a server for each task, shape (E, B, N); any valid index where there is no task."""
        ...
