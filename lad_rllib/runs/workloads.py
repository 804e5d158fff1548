"""The named workloads of the benchmark suite, each at any load: what schedulers of images are compared on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lad_rllib.declared import shown
from lad_rllib.envs import episodes
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import EVALUATION_PART
from lad_rllib.runs.comparison import Measures
from lad_rllib.runs.contest import Contest, contest_of_requests, contest_of_slots
from lad_rllib.simulator import Setting, build_setting, override_spec
from lad_rllib.simulator.requests import (
    REQUEST_PRESETS,
    RequestSetting,
    build_request_setting,
    is_request_spec,
    override_request_spec,
)

Work = Literal["predicted", "known"]


@dataclass(frozen=True)
class Workload:
    """What is served, and how much of it.

    Attributes:
        name: Name in tables.
        spec: Dictionary of a setting, of slots or of requests.
        episodes: Episodes to play, or windows of a log: at most so many.
    """

    name: str
    spec: Mapping[str, Any] = field(repr=False)
    episodes: int = 10

    @property
    def is_one_by_one(self) -> bool:
        """Whether its requests come at times of their own, not in slots."""
        return is_request_spec(self.spec)

    def at_load(self, load: float) -> Setting | RequestSetting:
        """The setting with this load; of slots, as near to it as the most tasks of a station can come.

        Raises:
            ConfigurationError: if it cannot be built, or is one of slots whose number of tasks is not drawn uniformly.
        """
        if self.is_one_by_one:
            return build_request_setting(override_request_spec(self.spec, {"traffic": {"load": load}}))
        setting = build_setting(self.spec)
        if setting.spec["arrivals"]["source"] != "uniform":
            raise ConfigurationError(
                f"workload {self.name} has slots with arrivals other than uniform, whose load the suite cannot change; "
                "give one of requests that come one by one"
            )
        guess = round(setting.spec["arrivals"]["max_tasks"] * load / setting.load)  # tasks differ, so not exactly
        near = (
            build_setting(override_spec(setting.spec, {"arrivals": {"max_tasks": tasks}}))
            for tasks in range(max(guess - _NEAR, 1), guess + _NEAR + 1)
        )
        return min(near, key=lambda one: abs(one.load - load))

    def contests(
        self, load: float, orders: Sequence[str], works: Sequence[Work], seed: int, slo: float
    ) -> Iterator[Contest]:
        """The episodes at one load, once for each of ``works``: what schedulers are told of service times.

        Where times are exactly as predicted, there is one contest, with the work known.
        """
        setting, measures = self.at_load(load), Measures(slo=slo)
        if isinstance(setting, Setting):
            yield contest_of_slots(setting, self.episodes, seed, orders, measures)
            return
        contest = contest_of_requests(setting, self.episodes, seed, orders, measures)
        is_exact = all(np.all(requests.actual_over_predicted == 1) for requests in contest.episodes)
        told: Sequence[Work] = ("known",) if is_exact else works
        for work in told:
            yield replace(contest, world=replace(contest.world, work=work))


_NEAR = 4
_TENANTS = {"large": 6.0, "middle": 3.0, "small": 1.0}
_SHORT = {"requests": 4_000}
_OF_THE_SUITE: dict[str, tuple[dict[str, Any], int]] = {
    "paper": ({"preset": "paper"}, 10),
    "paper-one-by-one": ({"preset": "paper-one-by-one"}, 10),
    "unequal-8": ({"preset": "unequal-8", **_SHORT}, 10),
    "bursty": ({"preset": "unequal-8-bursty", **_SHORT, "traffic": {"mix": {"tenants": _TENANTS}}}, 10),
    "swap-heavy": ({"preset": "swap-heavy", **_SHORT}, 10),
    "gentd26": ({"preset": "gentd26", "traffic": {"part": list(EVALUATION_PART)}}, 100),
}
OF_A_LOG = "gentd26"
"""The workload that needs a file."""
WORKLOADS = tuple(_OF_THE_SUITE)
"""Names of the suite's workloads."""


def make_workload(
    name: str, log: str | None = None, num_episodes: int | None = None, num_requests: int | None = None
) -> Workload:
    """A workload of the suite, or one of a user's own.

    Args:
        name: One of :data:`WORKLOADS`, a preset of requests, or a settings file.
        log: The request log of :data:`OF_A_LOG`.
        num_episodes: Episodes instead of the workload's own number.
        num_requests: Requests of an episode instead of the workload's own number; slots have as many as arrive.

    Raises:
        ConfigurationError: for an unknown name, a file that cannot be read, or a log that is missing.
    """
    if name == OF_A_LOG and log is None:
        raise ConfigurationError(f"workload {OF_A_LOG} needs the request log of that name; give --log PATH")
    if name in WORKLOADS:
        spec, number = _OF_THE_SUITE[name]
    elif name in REQUEST_PRESETS or name.endswith(episodes.SETTINGS_FILES):
        spec, number = episodes.setting_spec(name), Workload.episodes
    else:
        raise ConfigurationError(
            f"unknown workload {shown(name)}; choose from {', '.join(WORKLOADS)}, a preset of requests "
            f"({', '.join(REQUEST_PRESETS)}), or a settings file"
        )
    if is_request_spec(spec):
        traffic = {"path": log} if name == OF_A_LOG else {}
        own = {} if num_requests is None else {"requests": num_requests}
        spec = override_request_spec(spec, {**own, "traffic": traffic})
    return Workload(name, spec, num_episodes or number)
