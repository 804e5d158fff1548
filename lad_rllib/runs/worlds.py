"""What an algorithm trains in: slots of a fleet, or requests one by one; settings, environments, memory, yardsticks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.options import LearnOptions, flag
from lad_rllib.simulator import Setting, TraceArrivals, build_setting, sizes
from lad_rllib.simulator.requests import RandomFleets, RequestSetting, SlottedRequests, request_setting

OfRequests = RequestSetting | SlottedRequests | RandomFleets
AnySetting = Setting | OfRequests


class TrainingWorld(ABC):
    """What a kind of algorithm trains in."""

    @abstractmethod
    def read(self, spec: dict[str, Any], options: LearnOptions) -> AnySetting:
        """The setting that a settings dictionary and the options describe.

        Raises:
            ConfigurationError: if it is none for these algorithms, or an option has no effect on them.
        """

    @abstractmethod
    def build(self, spec: dict[str, Any]) -> AnySetting:
        """The setting of a resolved configuration again."""

    @abstractmethod
    def queue_unit(self, wish: str, setting: AnySetting, needed: str | None) -> str | None:
        """What ``--queue-unit`` means for a setting and an algorithm that needs a unit, or any."""

    @abstractmethod
    def environment(self, configuration: dict[str, Any]) -> tuple[type, dict[str, Any]]:
        """Environment and ``env_config`` of a resolved configuration."""

    @abstractmethod
    def callback(self) -> type:
        """What logs yardsticks beside each episode."""

    @abstractmethod
    def lockstep_bytes(self, episodes: int, setting: AnySetting) -> int:
        """Memory of so many episodes at once [bytes]."""

    @abstractmethod
    def training_bytes(self, config: Any, setting: AnySetting, *, plays_here: bool) -> dict[str, int]:
        """Memory of training on this machine by part [bytes]."""

    memory_remedy: str
    """Settings that change what training takes."""
    kernels: tuple[tuple[str, ...], ...]
    """Compiled kernels that training calls, as ``module:name`` below ``lad_rllib``, in groups of equal work."""


class SlotWorld(TrainingWorld):
    """Fleets that decide slot by slot, simulated or real."""

    kernels = (
        ("kernels.chain:run_chains", "kernels.chain:chain_gradients"),
        (
            *("kernels.noise:fill_normal", "kernels.replay:make_distinct", "kernels.replay:gather"),
            *("kernels.networks:soft_targets", "kernels.networks:network_gradients", "kernels.adam:adam_step"),
            "kernels.networks:run_networks",
        ),
    )
    memory_remedy = "the numbers of stations, servers, tasks and slots, hidden_sizes or replay_capacity"

    def read(self, spec: dict[str, Any], options: LearnOptions) -> Setting:
        """See :class:`TrainingWorld`."""
        if options.order is not None:
            raise ConfigurationError(
                f"--order has no effect on {options.algorithm}, which learns first in, first out; leave it out, or "
                "train lad-dispatch"
            )
        return read_setting(spec)

    def build(self, spec: dict[str, Any]) -> Setting:
        """See :class:`TrainingWorld`."""
        return build_setting(spec)

    def queue_unit(self, wish: str, setting: AnySetting, needed: str | None) -> str | None:
        """See :class:`TrainingWorld`."""
        if wish != "auto":
            return wish
        if needed is not None:
            return needed
        return "seconds" if isinstance(cast(Setting, setting).arrivals, TraceArrivals) else "gcycles"

    def environment(self, configuration: dict[str, Any]) -> tuple[type, dict[str, Any]]:
        """See :class:`TrainingWorld`; of real servers, refuses what cannot work."""
        from lad_rllib.envs import FleetVectorEnv, LiveFleetVectorEnv

        env_config = {"setting": configuration["setting"], "queue_unit": configuration["queue_unit"]}
        if configuration["live"] is None:
            return FleetVectorEnv, env_config
        env_config |= configuration["live"]
        LiveFleetVectorEnv(env_config | {"num_envs": configuration["num_envs_per_env_runner"]}).close()
        return LiveFleetVectorEnv, env_config

    def callback(self) -> type:
        """See :class:`TrainingWorld`."""
        from lad_rllib.envs import YardstickCallback

        return YardstickCallback

    def lockstep_bytes(self, episodes: int, setting: AnySetting) -> int:
        """See :class:`TrainingWorld`."""
        setting = cast(Setting, setting)
        return sizes.arrivals_bytes(
            episodes, setting.num_slots, setting.network.num_stations, setting.arrivals.max_tasks
        )

    def training_bytes(self, config: Any, setting: AnySetting, *, plays_here: bool) -> dict[str, int]:
        """See :class:`TrainingWorld`."""
        setting = cast(Setting, setting)
        stations, servers = setting.network.num_stations, setting.network.num_servers
        parts = sizes.training_bytes(
            config.memory_use(stations, servers),
            episodes=config.num_envs_per_env_runner,
            slots=setting.num_slots,
            stations=stations,
            servers=servers,
            tasks=setting.arrivals.max_tasks,
        )
        return parts if plays_here else {key: size for key, size in parts.items() if key not in sizes.RUNNER_PARTS}


class RequestsWorld(TrainingWorld):
    """Requests that come one by one, under an order of service."""

    kernels = (
        (
            *("algorithms.lad_dispatch.rule:lad_dispatch", "kernels.scoring_chain:run_scoring_chain"),
            "kernels.scoring_chain:scoring_chain_gradients",
        ),
        (
            *("simulator.requests.loop:play", "simulator.requests.loop:replay", "simulator.requests.record:write"),
            "simulator.requests.replays:server_costs",
        ),
    )
    memory_remedy = "requests, the number of servers, or sampled_requests"

    def read(self, spec: dict[str, Any], options: LearnOptions) -> OfRequests:
        """See :class:`TrainingWorld`."""
        for name in ("queue_unit", "fleet", "rollout_fragment_length"):
            value = getattr(options, name, None)
            if value not in (None, "auto"):
                raise ConfigurationError(
                    f"{flag(name)} {value} has no effect on {options.algorithm}, which learns from simulated episodes "
                    "of requests; leave it out"
                )
        return request_setting(spec, options.order)

    def build(self, spec: dict[str, Any]) -> OfRequests:
        """See :class:`TrainingWorld`."""
        return request_setting(spec)

    def queue_unit(self, wish: str, setting: AnySetting, needed: str | None) -> str | None:
        """See :class:`TrainingWorld`: there is none."""
        return None

    def environment(self, configuration: dict[str, Any]) -> tuple[type, dict[str, Any]]:
        """See :class:`TrainingWorld`."""
        from lad_rllib.envs import RequestFleetEnv

        return RequestFleetEnv, {"setting": configuration["setting"]}

    def callback(self) -> type:
        """See :class:`TrainingWorld`."""
        from lad_rllib.envs.callbacks import RequestYardstickCallback

        return RequestYardstickCallback

    def lockstep_bytes(self, episodes: int, setting: AnySetting) -> int:
        """See :class:`TrainingWorld`; episodes are played one after the other."""
        return 0

    def training_bytes(self, config: Any, setting: AnySetting, *, plays_here: bool) -> dict[str, int]:
        """See :class:`TrainingWorld`."""
        setting = cast(OfRequests, setting)
        played, table = config.episode_bytes(setting.num_requests, setting.most_servers)
        tables = table * config.num_envs_per_env_runner * max(config.num_env_runners, 1)
        return {"an episode": played, "tables": tables} if plays_here else {"tables": tables}


def world_of(algorithm: str) -> TrainingWorld:
    """What an algorithm trains in, by its name."""
    from lad_rllib.algorithms import CONFIGS
    from lad_rllib.algorithms.common.config import FleetConfig

    return SlotWorld() if issubclass(CONFIGS[algorithm], FleetConfig) else RequestsWorld()
