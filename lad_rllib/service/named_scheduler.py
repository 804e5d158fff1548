"""A scheduler of requests that knows a task by its name, and says who chose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service.decision import Decision
from lad_rllib.simulator.requests.view import View

if TYPE_CHECKING:
    from lad_rllib.service.guarded import GuardedScheduler


class NamedScheduler(RequestScheduler):
    """Lets one of several decide for each task."""

    @property
    @abstractmethod
    def in_charge(self) -> GuardedScheduler:
        """The one that decides unless something else is tried."""

    @property
    @abstractmethod
    def shares(self) -> Mapping[str, float]:
        """Share of the tasks for which each decides, by its name."""

    @abstractmethod
    def decide(self, task_id: str, view: View, rng: np.random.Generator) -> Decision:
        """The server of a task, one that is up, and who chose it."""

    def choose(self, view: View, rng: np.random.Generator) -> int:
        """See :class:`RequestScheduler`."""
        return self.decide("", view, rng).server
