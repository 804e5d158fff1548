"""What clients send: where requests come from, whatever serves them.

A kind of traffic is chosen by its name in :data:`TRAFFIC` and has fields of its own. Another package adds one by
subclassing :class:`TrafficFields` and naming the class in its entry-point group ``lad_rllib.traffic``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lad_rllib.declared import Declared
from lad_rllib.errors import ConfigurationError
from lad_rllib.plugins import Registry
from lad_rllib.simulator.field_types import Positive
from lad_rllib.simulator.requests.requests import Requests
from lad_rllib.simulator.requests.service_model import ServiceModel


class Sent(NamedTuple):
    """Requests as clients send them.

    Attributes:
        requests: The K requests; ``actual_over_predicted`` has no meaning yet.
        measured_s: Service time of each that was measured on a server of speed 1 [s], shape (K,); None: none was.
    """

    requests: Requests
    measured_s: NDArray[np.float64] | None = None


class Traffic(ABC):
    """Requests of clients.

    Attributes:
        own_rate_per_s: Rate at which they were recorded [1/s]; None: it has none of its own.
    """

    own_rate_per_s: float | None = None

    @abstractmethod
    def draw(self, rng: np.random.Generator, num_requests: int, rate_per_s: float) -> Sent:
        """Draw the requests of one episode, which arrive at this mean rate."""

    def check_episode(self, num_requests: int) -> None:  # noqa: B027  (most need not override it)
        """Raise ``ConfigurationError`` if it cannot draw episodes of so many requests; by default it can."""

    def windows(self, num_requests: int, rate_per_s: float, rng: np.random.Generator) -> Iterator[Sent]:
        """Consecutive episodes of a log in order, none of which overlap; what is left at its end is left out.

        Raises:
            ConfigurationError: if there is no log.
        """
        raise ConfigurationError("the requests come from no log, which alone has windows")

    @abstractmethod
    def typical(self) -> Sent:
        """Requests from which the mean work of all that can be drawn follows; always the same."""

    def past(self, rate_per_s: float) -> Sent | None:  # noqa: ARG002
        """Requests of the past at this mean rate, from which a service knows its traffic; None: as in any episode."""
        return None

    def with_part(self, part: tuple[float, float]) -> Traffic:
        """The same log on another part of its requests.

        Raises:
            ConfigurationError: if there is no log.
        """
        raise ConfigurationError(f"the requests come from no log to take the part {part} of")

    def fitted_service(self) -> ServiceModel:
        """A service model fitted to measured times, those of the past alone.

        Raises:
            ConfigurationError: if none were measured.
        """
        raise ConfigurationError(
            "service.kind is fitted, and this traffic has no measured service times; name a log that has them, or "
            "another kind"
        )

    def describe(self) -> str:
        """What arrives, in words for a reader of the setting; by default nothing."""
        return ""


class TrafficFields(Declared):
    """Group ``traffic`` of a setting of requests. A subclass declares the fields of one kind, among them ``kind``."""

    load: Positive | None = None
    """Offered work over what the servers can do, without the loading of models; null: ``rate_per_s``."""
    rate_per_s: Positive | None = None
    """Mean arrival rate [1/s]; null: that of ``load``. Not together with it."""
    deadline_over_solo: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Deadline of requests that state none, over their delay on the fastest server, idle; null: none."""

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if self.load is not None and self.rate_per_s is not None:
            raise ValueError(
                f"load {self.load:g} and rate_per_s {self.rate_per_s:g} exclude each other: the rate follows from the "
                "load; leave one out (null)"
            )
        return self

    @abstractmethod
    def build(self) -> Traffic:
        """The traffic that the fields describe."""


TRAFFIC: Registry[type[TrafficFields]] = Registry("traffic.kind", "lad_rllib.traffic", base=TrafficFields)
"""Name of every kind of traffic and the class of its fields."""
