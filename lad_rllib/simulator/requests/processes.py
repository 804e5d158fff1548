"""When requests arrive, where arrivals are drawn: at random, in bursts, by the time of day, or at once in each slot.

Every process is a Poisson process whose clock runs unevenly: arrivals of rate 1 are drawn, and each is put at the time
by which so many were to be expected.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.field_types import Fraction, Positive
from lad_rllib.simulator.requests.mixes import Mix
from lad_rllib.simulator.requests.traffic import TRAFFIC, Sent, Traffic, TrafficFields

FloatArray = NDArray[np.float64]

TYPICAL_REQUESTS = 50_000
"""Requests from which the mean work of a mix is taken; their mean is within 1 % of the mix's."""
MAX_PIECES = 1e8
"""Most times at which an episode's rate changes."""
_STEPS_OF_PERIOD = 4096


class DrawnFields(TrafficFields):
    """Group ``traffic`` of every kind that draws requests. A subclass says when they arrive."""

    mix: Mix = Mix()
    """Group: what the requests ask for."""

    @model_validator(mode="after")
    def _has_a_rate(self) -> Self:
        if self.load is None and self.rate_per_s is None:
            raise ValueError("load and rate_per_s are both null; give one of them")
        return self

    @abstractmethod
    def clock(self, rng: np.random.Generator, rate_per_s: float, expected: float) -> tuple[FloatArray, FloatArray]:
        """Times [s], increasing from 0, and the expected number of requests until each, up to ``expected`` or more.

        Between two of them requests arrive at a constant rate.
        """

    @abstractmethod
    def describe(self) -> str:
        """The process in words."""

    def build(self) -> DrawnTraffic:
        """See :class:`~lad_rllib.simulator.requests.traffic.TrafficFields`."""
        return DrawnTraffic(self)


class DrawnTraffic(Traffic):
    """Requests drawn as the fields say.

    Args:
        fields: When requests arrive, and what they ask for.
    """

    def __init__(self, fields: DrawnFields) -> None:
        self.fields = fields

    def draw(self, rng: np.random.Generator, num_requests: int, rate_per_s: float) -> Sent:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        expected = np.cumsum(rng.exponential(size=num_requests))
        times, expected_until = self.fields.clock(rng, rate_per_s, expected[-1] if num_requests else 0.0)
        return Sent(self.fields.mix.draw(rng, np.interp(expected, expected_until, times)))

    def typical(self) -> Sent:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        rng = np.random.default_rng(0)
        return Sent(self.fields.mix.draw(rng, np.arange(TYPICAL_REQUESTS, dtype=np.float64)))

    def describe(self) -> str:
        """See :class:`~lad_rllib.simulator.requests.traffic.Traffic`."""
        return f"  arrivals: {self.fields.describe()}"


@TRAFFIC.register("poisson")
class PoissonFields(DrawnFields):
    """Requests arrive independently of one another, at a constant rate."""

    kind: Literal["poisson"] = "poisson"
    """Name of this kind."""

    def clock(self, rng: np.random.Generator, rate_per_s: float, expected: float) -> tuple[FloatArray, FloatArray]:
        """See :class:`DrawnFields`."""
        return np.array([0.0, expected / rate_per_s]), np.array([0.0, expected])

    def describe(self) -> str:
        """See :class:`DrawnFields`."""
        return "Poisson"


@TRAFFIC.register("bursty")
class BurstyFields(DrawnFields):
    """Bursts: a Poisson process whose rate jumps between two values, each kept for an exponential time.

    Source: Markov-modulated Poisson process of two states, W. Fischer and K. Meier-Hellstern, Performance Evaluation 18
    (1993). The defaults give about 5 times the variance of a Poisson process in a minute's requests at one request in
    3 s; production logs of image services have 3 to 5 times.
    """

    kind: Literal["bursty"] = "bursty"
    """Name of this kind."""
    rate_ratio: Annotated[float, Field(ge=1, le=1e6)] = 3.0
    """Rate in a burst over the rate otherwise."""
    burst_s: Positive = 60.0
    """Mean length of a burst [s]."""
    calm_s: Positive = 240.0
    """Mean time between two bursts [s]."""

    def rates_per_s(self, rate_per_s: float) -> tuple[float, float]:
        """Rates in a burst and otherwise, for a mean rate [1/s]."""
        share = self.burst_s / (self.burst_s + self.calm_s)
        calm = rate_per_s / (share * self.rate_ratio + 1.0 - share)
        return calm * self.rate_ratio, calm

    def dispersion(self, rate_per_s: float, window_s: float) -> float:
        """Variance of the number of requests in a window over its mean: 1 for a Poisson process.

        >>> round(BurstyFields(rate_per_s=0.3).dispersion(0.3, 60.0), 1)
        5.0
        """
        burst, calm = self.rates_per_s(rate_per_s)
        share = self.burst_s / (self.burst_s + self.calm_s)
        turnover = 1.0 / self.burst_s + 1.0 / self.calm_s
        excess = 2.0 * (burst - calm) ** 2 * share * (1.0 - share) / (rate_per_s * turnover)
        return float(1.0 + excess * (1.0 + math.expm1(-turnover * window_s) / (turnover * window_s)))

    def clock(self, rng: np.random.Generator, rate_per_s: float, expected: float) -> tuple[FloatArray, FloatArray]:
        """See :class:`DrawnFields`."""
        rates, means = np.array(self.rates_per_s(rate_per_s)), np.array([self.burst_s, self.calm_s])
        first = int(rng.random() < self.calm_s / (self.burst_s + self.calm_s))
        rates, means = np.roll(rates, -first), np.roll(means, -first)
        times, until = [np.zeros(1)], [np.zeros(1)]
        if expected / (rates @ means) > MAX_PIECES:
            raise ConfigurationError(
                f"an episode takes {expected / (rates @ means):.2g} bursts; lower requests, or raise traffic.burst_s "
                "and traffic.calm_s"
            )
        while until[-1][-1] < expected:
            cycles = 1 + int((expected - until[-1][-1]) / (rates @ means))
            stays = rng.exponential(means, size=(cycles, 2))
            times.append(times[-1][-1] + np.cumsum(stays))
            until.append(until[-1][-1] + np.cumsum(stays * rates))
        return np.concatenate(times), np.concatenate(until)

    def describe(self) -> str:
        """See :class:`DrawnFields`."""
        return (
            f"bursts of {self.burst_s:g} s every {self.burst_s + self.calm_s:g} s on average, with "
            f"{self.rate_ratio:g} times the rate otherwise"
        )


@TRAFFIC.register("daily")
class DailyFields(DrawnFields):
    """Rhythm of a day: a Poisson process whose rate is a sine wave."""

    kind: Literal["daily"] = "daily"
    """Name of this kind."""
    period_s: Positive = 86_400.0
    """Length of a day [s]."""
    depth: Fraction = 0.8
    """Greatest rate over the mean rate, less 1; the least rate is as far below."""
    phase: Fraction | None = None
    """Part of the day at which episodes begin; the rate is greatest at 0.25 and least at 0.75. null: at random."""

    def clock(self, rng: np.random.Generator, rate_per_s: float, expected: float) -> tuple[FloatArray, FloatArray]:
        """See :class:`DrawnFields`."""
        phase = rng.random() if self.phase is None else self.phase
        days = (expected / rate_per_s) / self.period_s + 1.0
        if days * _STEPS_OF_PERIOD > MAX_PIECES:
            raise ConfigurationError(
                f"an episode takes {days:,.0f} days of {self.period_s:g} s; lower requests, or raise traffic.period_s"
            )
        day = np.arange(math.ceil(days * _STEPS_OF_PERIOD) + 1) / _STEPS_OF_PERIOD
        swing = self.depth / (2 * np.pi) * (np.cos(2 * np.pi * phase) - np.cos(2 * np.pi * (day + phase)))
        return day * self.period_s, rate_per_s * self.period_s * (day + swing)

    def describe(self) -> str:
        """See :class:`DrawnFields`."""
        return f"the rate swings by {self.depth:.0%} in {self.period_s:g} s"


@TRAFFIC.register("slotted")
class SlottedFields(DrawnFields):
    """Requests are collected and come at the starts of slots, all of a slot at once, as in arXiv 2412.18212."""

    kind: Literal["slotted"] = "slotted"
    """Name of this kind."""
    slot_s: Positive = 60.0
    """Length of a slot [s]."""

    def clock(self, rng: np.random.Generator, rate_per_s: float, expected: float) -> tuple[FloatArray, FloatArray]:
        """See :class:`DrawnFields`."""
        of_a_slot = rate_per_s * self.slot_s
        if expected / of_a_slot > MAX_PIECES:
            raise ConfigurationError(
                f"an episode takes {expected / of_a_slot:.2g} slots of {self.slot_s:g} s; lower requests, or raise "
                "traffic.slot_s"
            )
        slots = np.arange(math.ceil(expected / of_a_slot) + 2)
        return np.repeat(slots * self.slot_s, 2)[:-1], np.repeat(slots * of_a_slot, 2)[1:]

    def describe(self) -> str:
        """See :class:`DrawnFields`."""
        return f"all requests of {self.slot_s:g} s at once"
