"""A setting of slots, played request by request: the same tasks, servers and links, under any order of service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.arrivals import TraceArrivals
from lad_rllib.simulator.order import Order, make_order, order_text
from lad_rllib.simulator.requests.random_fleets import RandomFleets, build_random_fleets, is_random_fleets
from lad_rllib.simulator.requests.requests import Requests
from lad_rllib.simulator.requests.setting import RequestSetting, build_request_setting, is_request_spec
from lad_rllib.simulator.requests.world import FIFO, RequestWorld, slotted_requests, slotted_world
from lad_rllib.simulator.settings import Setting, build_setting

_HISTORY = 2**31
"""Seed of the history, which no episode is drawn from."""


@dataclass(frozen=True)
class SlottedRequests:
    """The tasks of a setting of slots as requests that arrive at the starts of their slots.

    It offers what a :class:`~lad_rllib.simulator.requests.setting.RequestSetting` does. As everywhere, an episode's
    last slot is not decided.

    Attributes:
        setting: The setting.
        order: Order of service.
        at_once: Tasks of a slot are decided at once, with the queues at its start; otherwise one after the other.

    >>> from lad_rllib.simulator import build_setting
    >>> slotted = SlottedRequests(build_setting({"preset": "small"}))
    >>> slotted.world.num_servers, slotted.draw(np.random.default_rng(0)).arrival_s.max().item()
    (4, 6.0)
    """

    setting: Setting
    order: Order = FIFO
    at_once: bool = False

    @property
    def name(self) -> str:
        """Name in results."""
        return self.setting.name

    @property
    def spec(self) -> dict[str, Any]:
        """The dictionary that describes it."""
        at_once = {"at_once": True} if self.at_once else {}
        return {**self.setting.spec, "order": order_text(self.order), **at_once}

    @property
    def world(self) -> RequestWorld:
        """The servers and their order of service."""
        return replace(slotted_world(self.setting.network, self.order), at_once=self.at_once)

    @property
    def load(self) -> float:
        """Offered work over capacity; above 1 the queues grow."""
        return self.setting.load

    @property
    def num_requests(self) -> int:
        """Requests of an episode, about."""
        return len(self.history())

    def with_part(self, part: tuple[float, float]) -> SlottedRequests:
        """The same on another part of its request log, see :meth:`Setting.with_part`."""
        return replace(self, setting=self.setting.with_part(part))

    def summary(self) -> str:
        """The setting and what it means, in a few lines of text."""
        decided = "at once at the start of their slot" if self.at_once else "one by one"
        return f"{self.setting.summary()}\n  tasks are decided {decided} and served {order_text(self.order)}"

    @property
    def most_servers(self) -> int:
        """Edge servers."""
        return self.setting.network.num_servers

    def of_episode(self, rng: np.random.Generator) -> SlottedRequests:  # noqa: ARG002
        """What an episode is played on: always this, unlike with random fleets."""
        return self

    def draw(self, rng: np.random.Generator) -> Requests:
        """The requests of one episode."""
        return _decided(self.setting, rng)

    def history(self) -> Requests:
        """Requests of the past, always the same; of a log, those before the part that episodes are cut from."""
        setting, arrivals = self.setting, self.setting.arrivals
        if isinstance(arrivals, TraceArrivals) and arrivals.first_slot >= setting.num_slots:
            setting = setting.with_part((0.0, arrivals.part[0]))
        return _decided(setting, np.random.default_rng(_HISTORY))


def request_setting(
    spec: Mapping[str, Any], order: str | Mapping[str, Any] | None = None
) -> RequestSetting | SlottedRequests | RandomFleets:
    """The setting that a plain dictionary describes, played request by request.

    Args:
        spec: A setting of requests, or of random fleets; or one of slots, which may have the keys ``order`` and
            ``at_once`` here.
        order: Order of service instead of the setting's.

    Raises:
        ConfigurationError: as :func:`build_request_setting` and :func:`~lad_rllib.simulator.build_setting`.
    """
    ordered = dict(spec) if order is None else {**spec, "order": order}
    if is_random_fleets(ordered):
        return build_random_fleets(ordered)
    if is_request_spec(ordered):
        return build_request_setting(ordered)
    if not isinstance(at_once := ordered.pop("at_once", False), bool):
        raise ConfigurationError(f"at_once must be true or false, got {shown(at_once)}")
    served = make_order(ordered.pop("order", "fifo"))
    return SlottedRequests(order=served, at_once=at_once, setting=build_setting(ordered))


def _decided(setting: Setting, rng: np.random.Generator) -> Requests:
    arrivals = setting.arrivals.draw(rng, setting.num_slots)
    return slotted_requests(setting.network, arrivals, setting.num_slots - 1)
