"""What schedulers are compared on: the same episodes, of slots or of requests, under one or several orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.comparison import Measures, Played, played
from lad_rllib.scheduling import Scheduler, play
from lad_rllib.scheduling.bounds import requests_lower_bound_s
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import RequestScheduler, player
from lad_rllib.simulator import Arrivals, Order, Setting, TraceArrivals, make_order, order_text, stack_arrivals
from lad_rllib.simulator.order import FirstInFirstOut
from lad_rllib.simulator.requests import (
    Requests,
    RequestSetting,
    RequestWorld,
    ServedRequests,
    SlottedRequests,
    slotted_requests,
)
from lad_rllib.simulator.requests.play import play_decisions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Show = Callable[[int], None]


@dataclass(frozen=True)
class Slots:
    """Episodes of slots, for schedulers that decide for all tasks of a slot.

    Attributes:
        setting: Their setting.
        arrivals: Arrivals of E episodes.
    """

    setting: Setting
    arrivals: Arrivals

    @property
    def decided(self) -> int:
        """Slots that are decided: all but an episode's last."""
        return self.setting.num_slots - 1

    def decide(self, scheduler: Scheduler, seed: int, show: Show | None = None) -> list[IntArray]:
        """The server of every task of each episode; unfinished work at slot starts depends on no order of service."""
        rng = np.random.default_rng(seed)
        record = play(scheduler, self.setting.network, self.arrivals, rng, self.decided, show)
        return [action[mask] for action, mask in zip(record.action, record.mask, strict=True)]


@dataclass(frozen=True)
class Contest:
    """The same episodes for all schedulers.

    Attributes:
        world: Where requests are served.
        orders: Orders of service, each of which all are played under.
        episodes: The episodes, as requests.
        history: Requests of the past.
        seed: Seed of choices.
        end_s: End of each episode [s].
        slots: The same episodes for schedulers of slots; None if requests come one by one.
        measures: What is measured besides delays.
    """

    world: RequestWorld
    orders: tuple[Order, ...]
    episodes: tuple[Requests, ...]
    history: Requests
    seed: int
    end_s: tuple[float, ...]
    slots: Slots | None
    measures: Measures

    @property
    def one_by_one(self) -> bool:
        """Whether a scheduler of two forms plays that for single requests: not in slots, first in, first out."""
        return self.slots is None or any(not isinstance(order, FirstInFirstOut) for order in self.orders)

    @property
    def work(self) -> str:
        """What schedulers are told of service times."""
        if self.slots is None:
            return self.world.work
        return "known" if self.slots.arrivals.shown_workload_gcycles is None else "predicted"

    @property
    def capacity(self) -> FloatArray:
        """Capacity of each server: that of the network, or its relative speed, shape (A,)."""
        if self.slots is not None:
            return self.slots.setting.network.capacity_gcycles_per_s
        return self.world.speed(self.history)

    @property
    def capacity_unit(self) -> str:
        """What :attr:`capacity` is, as a column of a table."""
        return "speed" if self.slots is None else "capacity_gcycles_per_s"

    @property
    def tasks(self) -> IntArray:
        """Tasks of each episode, shape (E,)."""
        return np.array([len(requests) for requests in self.episodes])

    @property
    def reference(self) -> str:
        """Scheduler that all are compared with, under first in, first out."""
        return "least-work-left" if self.slots is None else "greedy-oracle"

    @property
    def over(self) -> str:
        """Column of the ratio to the reference."""
        return "over_least_work_left" if self.slots is None else "over_oracle"

    def steps(self, scheduler: Scheduler | RequestScheduler) -> int:
        """Steps that :meth:`play` shows."""
        return 1 if self.slots is None or isinstance(scheduler, RequestScheduler) else self.slots.decided

    def play(self, name: str, scheduler: Scheduler | RequestScheduler, show: Show | None = None) -> list[Played]:
        """Let a scheduler play all episodes under each order.

        Args:
            name: Its name in tables.
            scheduler: The scheduler.
            show: Is called with the number of steps done, of :meth:`steps`.
        """
        decisions = None
        if not isinstance(scheduler, RequestScheduler):
            if self.slots is None:
                raise ConfigurationError(f"{name} decides for slots, and the requests of this setting come one by one")
            decisions = self.slots.decide(scheduler, self.seed, show)
        results = []
        for order in self.orders:
            served = self._served(replace(self.world, order=order), scheduler, decisions)
            results.append(played(name, order_text(order), served, self.capacity, self.end_s, self.measures))
        if show is not None:
            show(self.steps(scheduler))
        return results

    def _served(
        self, world: RequestWorld, scheduler: Any, decisions: Sequence[IntArray] | None
    ) -> list[ServedRequests]:
        if decisions is not None:
            return [play_decisions(to, world, each) for to, each in zip(decisions, self.episodes, strict=True)]
        play_one = player(scheduler, world, self.history)
        return [
            play_one(each, np.random.default_rng([self.seed, index, 1])) for index, each in enumerate(self.episodes)
        ]

    def reference_mean_s(self) -> float:
        """Mean delay of the reference [s]."""
        fifo = replace(self, orders=(FirstInFirstOut(),))
        [reference] = fifo.play(self.reference, make_scheduler(self.reference, one_by_one=self.slots is None))
        return float(reference.row["mean_s"])

    def bounds_s(self) -> FloatArray:
        """Lower bound of each episode's mean delay, which no schedule under any of the orders is below [s]."""
        return np.array([requests_lower_bound_s(self.world.timing(requests)) for requests in self.episodes])


def evaluation_arrivals(setting: Setting, episodes: int, seed: int) -> Arrivals:
    """Arrivals to compare on: fresh draws, or the windows of a request log in order (at most ``episodes``)."""
    if isinstance(setting.arrivals, TraceArrivals):
        windows = list(islice(setting.arrivals.windows(setting.num_slots, only_full=True), episodes))
        if not windows:
            raise ConfigurationError(
                "the part of the request log is shorter than one episode; lower --slots or widen --part"
            )
        return stack_arrivals(windows)
    return stack_arrivals(
        [setting.arrivals.draw(np.random.default_rng([seed, k]), setting.num_slots) for k in range(episodes)]
    )


def contest_of_slots(
    setting: Setting, episodes: int, seed: int, orders: Sequence[str | Order], measures: Measures
) -> Contest:
    """Episodes of a setting of slots.

    Raises:
        ConfigurationError: if no task arrives in them.
    """
    arrivals = evaluation_arrivals(setting, episodes, seed)
    slots = Slots(setting, arrivals)
    if not arrivals.task_counts[:, : slots.decided].any():
        raise ConfigurationError("no task arrives in these episodes; play more of them, or a setting with more tasks")
    one_by_one = SlottedRequests(setting)
    return Contest(
        world=one_by_one.world,
        orders=tuple(map(make_order, orders)),
        episodes=tuple(
            slotted_requests(setting.network, arrivals.episodes(index), slots.decided)
            for index in range(len(arrivals.task_counts))
        ),
        history=one_by_one.history(),
        seed=seed,
        end_s=(slots.decided * setting.network.slot_s,) * len(arrivals.task_counts),
        slots=slots,
        measures=measures,
    )


def contest_of_requests(
    setting: RequestSetting, episodes: int, seed: int, orders: Sequence[str | Order], measures: Measures
) -> Contest:
    """Episodes of a setting of requests: fresh draws, or the windows of a request log in order."""
    if "part" in setting.spec["traffic"]:
        drawn = tuple(islice(setting.windows(), episodes))
    else:
        drawn = tuple(setting.draw(np.random.default_rng([seed, index])) for index in range(episodes))
    return Contest(
        world=setting.world,
        orders=tuple(map(make_order, orders)),
        episodes=drawn,
        history=setting.history(),
        seed=seed,
        end_s=tuple(float(requests.arrival_s[-1]) for requests in drawn),
        slots=None,
        measures=measures,
    )
