"""What the fleet environments share: spaces, arrivals and observations of a slot of the whole fleet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.envs.episodes import draw_episode, draw_seed, read_env_config
from lad_rllib.simulator import Arrivals, SlotTasks, stack_arrivals


class FleetBaseEnv(VectorEnv):
    """E episodes in lockstep in which one step decides all tasks of one slot; where they are served, subclasses know.

    Args:
        config: See the subclasses.
        valid_keys: Keys that ``config`` may have.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, config: Mapping[str, Any], valid_keys: Collection[str]) -> None:
        self.setting, self._queue_scale = read_env_config(config, valid_keys)
        network, arrivals = self.setting.network, self.setting.arrivals
        self.num_envs = int(config.get("num_envs", 1))
        stations, tasks, servers = network.num_stations, arrivals.max_tasks, network.num_servers
        self.single_observation_space = gym.spaces.Dict(
            {
                names.TASKS: gym.spaces.Box(0.0, np.inf, (stations, tasks, 2), np.float32),
                names.TASK_COUNTS: gym.spaces.Box(0, tasks, (stations,), np.int32),
                names.QUEUES: gym.spaces.Box(0.0, np.inf, (servers,), np.float32),
            }
        )
        self.single_action_space = gym.spaces.MultiDiscrete(np.full((stations, tasks), servers))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seed = draw_seed()
        self._episode = 0
        self._needs_reset = True
        self.arrivals: Arrivals  # of the present episodes

    def _draw_arrivals(self, seed: int | list[int] | None) -> None:
        """Draw the next episodes' arrivals.

        With a seed, episode ``k`` after this call has the arrivals of ``default_rng([seed, env index, k])``, so an
        environment among E in lockstep sees what it would see alone.
        """
        if seed is not None:
            self._seed, self._episode = int(np.ravel(seed)[0]), 0
        self.arrivals = stack_arrivals(
            [draw_episode(self.setting, self._seed, index, self._episode) for index in range(self.num_envs)]
        )
        self._episode += 1
        self._needs_reset = False

    def _observe(self, tasks: SlotTasks) -> dict[str, NDArray[Any]]:
        return {
            names.TASKS: np.stack([tasks.task_mbit * tasks.mask, tasks.workload_gcycles], -1).astype(np.float32),
            names.TASK_COUNTS: tasks.task_counts.astype(np.int32),
            names.QUEUES: (tasks.queue_gcycles * self._queue_scale).astype(np.float32),
        }

    def get_state(self) -> dict[str, int]:
        """What the arrivals of the next episode depend on; valid between episodes."""
        return {"seed": self._seed, "episode": self._episode}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continue from :meth:`get_state`: the next ``reset()`` draws the next episode."""
        self._seed, self._episode = int(state["seed"]), int(state["episode"])
        self._needs_reset = True
