"""What a source of arrivals is, and where sources have their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from lad_rllib.declared import Declared
from lad_rllib.plugins import Registry
from lad_rllib.simulator.network import EdgeNetwork
from lad_rllib.simulator.tasks import Arrivals


class ArrivalSource(ABC):
    """Draws the arrivals of episodes.

    Attributes:
        num_stations: Base stations B.
        max_tasks: Most tasks of one station in one slot, N.
    """

    num_stations: int
    max_tasks: int

    @abstractmethod
    def draw(self, rng: np.random.Generator, num_slots: int) -> Arrivals:
        """Draw the arrivals of one episode of ``num_slots`` slots."""

    @abstractmethod
    def mean_work_per_slot_gcycles(self) -> float:
        """Expected work that arrives in one slot, over all stations [Gcycle]."""

    def check_episode(self, num_slots: int) -> None:  # noqa: B027  (most need not override it)
        """Raise ``ConfigurationError`` if it cannot draw episodes of this length; by default it can."""

    def describe(self) -> str:
        """What arrives, in words for a reader of the setting; by default nothing."""
        return ""


class ArrivalFields(Declared):
    """Group ``arrivals`` of a setting. A subclass declares the fields of one source, among them ``source``, its name.

    Another package adds a source by naming its subclass in the entry-point group ``lad_rllib.arrivals``.
    """

    default_slot_s: ClassVar[float] = 1.0
    """Length of a slot if the setting states none [s] (1 in arXiv 2412.18212)."""

    @abstractmethod
    def build(self, network: EdgeNetwork) -> ArrivalSource:
        """The source that the fields describe, for a network's stations."""


ARRIVALS: Registry[type[ArrivalFields]] = Registry("arrivals.source", "lad_rllib.arrivals", base=ArrivalFields)
"""Values of ``arrivals.source`` and the group's fields with each."""
