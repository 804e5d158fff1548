"""The edge network as one vectorised Gymnasium environment: a step is a slot of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.envs.episodes import draw_episode, draw_seed, read_env_config
from lad_rllib.simulator import EdgeSimulator, stack_arrivals

ENV_CONFIG_KEYS = ("setting", "queue_unit", "num_envs")


class FleetVectorEnv(VectorEnv):
    """All base stations and edge servers of E networks in lockstep; one step decides one slot's tasks.

    Action: ``MultiDiscrete``, shape (B, N): the edge server of each task; ignored where there is no task.

    | observation | shape | unit |
    |---|---|---|
    | ``tasks`` | (B, N, 2) | input size [Mbit], workload [Gcycle]; 0 where there is no task |
    | ``task_counts`` | (B,) | tasks that arrived in this slot |
    | ``queues`` | (A,) | work queued at slot start [Gcycle], or its waiting time [s] (``queue_unit="seconds"``) |

    Reward: minus the sum of the service delays of the slot's tasks [s]. ``infos["task_delays_s"]`` (B, N) holds
    each task's own.
    Start: empty queues. End: truncated when the setting's last slot is reached; that slot's tasks are seen but not
    decided, since the last transitions need them as their next states (an episode of T slots has T - 1 steps).

    Args:
        config: ``setting``: name of a preset or a settings dictionary (see
            :func:`lad_rllib.simulator.build_setting`); ``queue_unit``: ``"gcycles"`` (paper) or ``"seconds"``;
            ``num_envs``: networks in lockstep E.

    Version history: v0, first release.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = dict(config or {})
        self.setting, self._queue_scale = read_env_config(config, ENV_CONFIG_KEYS)
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
        self.simulator: EdgeSimulator

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Draw new arrivals and empty the queues.

        With a seed, episode ``k`` after this call has the arrivals of ``default_rng([seed, env index, k])``, so an
        environment among E in lockstep sees what it would see alone.
        """
        if seed is not None:
            self._seed, self._episode = int(np.ravel(seed)[0]), 0
        self.simulator = EdgeSimulator(
            self.setting.network,
            stack_arrivals(
                [draw_episode(self.setting, self._seed, index, self._episode) for index in range(self.num_envs)]
            ),
        )
        self._episode += 1
        self._needs_reset = False
        return self._observation(), {}

    def step(
        self, actions: NDArray[np.integer]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Send the slot's tasks to the servers ``actions`` (E, B, N) names, and move on by one slot."""
        never = np.zeros(self.num_envs, dtype=bool)
        if self._needs_reset:
            observation, infos = self.reset()
            return observation, np.zeros(self.num_envs), never, never, infos
        delay = self.simulator.step(np.asarray(actions)).total_s
        self._needs_reset = self.simulator.slot == self.setting.num_slots - 1
        return (
            self._observation(),
            -delay.sum(axis=(1, 2)),
            never,
            np.full(self.num_envs, self._needs_reset),
            {names.TASK_DELAYS: delay.astype(np.float32)},
        )

    def _observation(self) -> dict[str, NDArray[Any]]:
        tasks = self.simulator.tasks
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
