"""What the fleet environments share: spaces, arrivals and observations of a slot of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.envs.episodes import FleetEnvConfig, draw_episode, draw_seed, read_env_config
from lad_rllib.simulator import Arrivals, PlayedEpisodes, SlotTasks, make_penalty, marginal_costs_s, stack_arrivals


class FleetBaseEnv(VectorEnv):
    """E episodes in lockstep in which one step decides all tasks of one slot; subclasses say where these are served.

    Args:
        config: See the subclasses.
        group: What ``config`` may hold.
        fields: Further fields of ``config``.

    Attributes:
        settings: The fields of ``config``, defaults filled in.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self, config: Mapping[str, Any] | None, group: type[FleetEnvConfig] = FleetEnvConfig, **fields: Any
    ) -> None:
        self.settings, self.setting, self._queue_scale = read_env_config(
            group, {**(config or {}), **fields} if fields else config
        )
        network, arrivals = self.setting.network, self.setting.arrivals
        self.num_envs = self.settings.num_envs
        self._capacities = network.capacity_gcycles_per_s.astype(np.float32)
        self._slot_length = np.array([network.slot_s], dtype=np.float32)
        stations, tasks, servers = network.num_stations, arrivals.max_tasks, network.num_servers
        self.single_observation_space = gym.spaces.Dict(
            {
                names.TASKS: gym.spaces.Box(0.0, np.inf, (stations, tasks, 2), np.float32),
                names.TASK_COUNTS: gym.spaces.Box(0, tasks, (stations,), np.int32),
                names.QUEUES: gym.spaces.Box(0.0, np.inf, (servers,), np.float32),
                names.CAPACITIES: gym.spaces.Box(self._capacities, self._capacities, dtype=np.float32),
                names.SLOT_LENGTH: gym.spaces.Box(self._slot_length, self._slot_length, dtype=np.float32),
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
        self._played: list[tuple[NDArray[np.integer], NDArray[np.float64]]] = []

    def _observe(self, tasks: SlotTasks) -> dict[str, NDArray[Any]]:
        return {
            names.TASKS: np.stack([tasks.task_mbit * tasks.mask, tasks.workload_gcycles], -1).astype(np.float32),
            names.TASK_COUNTS: tasks.task_counts.astype(np.int32),
            names.QUEUES: (tasks.queue_gcycles * self._queue_scale).astype(np.float32),
            names.CAPACITIES: np.tile(self._capacities, (self.num_envs, 1)),
            names.SLOT_LENGTH: np.tile(self._slot_length, (self.num_envs, 1)),
        }

    def _actions(self, actions: NDArray[np.integer]) -> NDArray[np.integer]:
        """The actions as an array (E, B, N); one of another shape would be stretched to it.

        Raises:
            ValueError: names both shapes.
        """
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions must have the shape (E, B, N) = {self.action_space.shape}, got {actions.shape}")
        return actions

    def _record(self, action: NDArray[np.integer], queue_gcycles: NDArray[np.float64]) -> None:
        """Note a slot as it was played: servers (E, B, N), and queues at its start (E, A) [Gcycle]."""
        self._played.append((action, queue_gcycles))

    def check_penalty(self, penalty: Mapping[str, Any] | None) -> None:
        """Refuse a loss that :meth:`marginal_costs` does not know.

        Raises:
            ConfigurationError: names the valid ones.
        """
        if penalty:
            make_penalty(**penalty)

    def marginal_costs(self, penalty: Mapping[str, Any] | None = None, discount: float = 1.0) -> NDArray[np.float32]:
        """What each task of the present episodes, as far as they were played, costs all tasks on each server.

        Args:
            penalty: Name and fields of the loss, see :func:`~lad_rllib.simulator.make_penalty`; None: the delay [s].
            discount: See :func:`~lad_rllib.simulator.marginal_costs_s`.

        Returns:
            Costs, 0 where there is no task, shape (E, T, B, N, A).
        """
        slots = slice(0, len(self._played))
        actions, queues = zip(*self._played, strict=True)
        played = PlayedEpisodes(
            network=self.setting.network,
            mask=self.arrivals.mask[:, slots],
            task_mbit=self.arrivals.task_mbit[:, slots],
            workload_gcycles=self.arrivals.workload_gcycles[:, slots],
            result_mbit=self.arrivals.result_mbit[:, slots],
            action=np.stack(actions, axis=1).astype(np.int64),
            # Work left after the last slot delays none of these tasks.
            queue_gcycles=np.stack([*queues, np.zeros_like(queues[0])], axis=1),
        )
        loss = make_penalty(**penalty) if penalty else None
        return marginal_costs_s(played, loss, discount=discount).astype(np.float32)

    def get_state(self) -> dict[str, int]:
        """What the arrivals of the next episode depend on; valid between episodes."""
        return {"seed": self._seed, "episode": self._episode}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continue from :meth:`get_state`: the next ``reset()`` draws the next episode."""
        self._seed, self._episode = int(state["seed"]), int(state["episode"])
        self._needs_reset = True
