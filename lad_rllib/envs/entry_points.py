"""What ``gymnasium.make`` calls: one network, where the vector environments have several in lockstep."""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lad_rllib.envs.fleet_base import FleetBaseEnv
from lad_rllib.envs.fleet_env import FleetVectorEnv
from lad_rllib.envs.live_env import LiveFleetVectorEnv
from lad_rllib.errors import ConfigurationError

Observation = dict[str, NDArray[Any]]


class SingleFleetEnv(gym.Env[Observation, NDArray[np.integer]]):
    """One edge network: the environment of :class:`FleetVectorEnv` or :class:`LiveFleetVectorEnv` without the axis E.

    Action, observation, reward, start and end are those of that environment; its card has them.

    Args:
        fleet: Vector environment with one network.

    Version history: v0, first release.
    """

    def __init__(self, fleet: FleetBaseEnv) -> None:
        if fleet.num_envs != 1:
            raise ConfigurationError(f"one environment is one network, got num_envs {fleet.num_envs}; use make_vec")
        self.fleet = fleet
        self.observation_space = fleet.single_observation_space
        self.action_space = fleet.single_action_space
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new arrivals and empty the queues; with a seed, those of the vector environment's first network."""
        super().reset(seed=seed)
        observation, infos = self.fleet.reset(seed=seed, options=options)
        self._is_over = False
        return _first(observation), _first(infos)

    def step(self, action: NDArray[np.integer]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Send the slot's tasks to the servers that ``action`` (B, N) names.

        Raises:
            ResetNeeded: if the episode is over.
        """
        if self._is_over:
            raise gym.error.ResetNeeded("the episode is over; call reset()")
        observation, reward, terminated, truncated, infos = self.fleet.step(np.asarray(action)[None])
        self._is_over = bool(truncated[0])
        return _first(observation), float(reward[0]), bool(terminated[0]), self._is_over, _first(infos)

    def close(self) -> None:
        """End what the fleet has started."""
        self.fleet.close()


def _first(batched: dict[str, Any]) -> dict[str, Any]:
    return {key: value[0] for key, value in batched.items()}


def make_fleet(**config: Any) -> SingleFleetEnv:
    """One simulated network; keywords are the keys of :class:`FleetVectorEnv`'s config."""
    return SingleFleetEnv(FleetVectorEnv(config))


def make_live_fleet(**config: Any) -> SingleFleetEnv:
    """One fleet of real edge servers; keywords are the keys of :class:`LiveFleetVectorEnv`'s config."""
    return SingleFleetEnv(LiveFleetVectorEnv(config))


def refuse_stations(**config: Any) -> NoReturn:
    """Say what to use instead: Gymnasium has no environments of several agents.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        "lad_rllib/EdgeStations-v0 has one agent per base station, which Gymnasium cannot make: use "
        "lad_rllib.envs.StationMultiAgentEnv(config), or lad_rllib/EdgeFleet-v0 for all stations as one agent"
    )
