"""The edge network as one vectorised Gymnasium environment: a step is a slot of the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.envs.fleet_base import FleetBaseEnv
from lad_rllib.simulator import EdgeSimulator


class FleetVectorEnv(FleetBaseEnv):
    """All base stations and edge servers of E networks in lockstep; one step decides one slot's tasks.

    Action: ``MultiDiscrete``, shape (B, N): the edge server of each task; ignored where there is no task.

    | observation | shape | unit |
    |---|---|---|
    | ``tasks`` | (B, N, 2) | input size [Mbit], workload [Gcycle]; 0 where there is no task |
    | ``task_counts`` | (B,) | tasks that arrived in this slot |
    | ``queues`` | (A,) | work queued at slot start [Gcycle], or its waiting time [s] or [slots] (``queue_unit``) |
    | ``capacities`` | (A,) | computing capacity, always the same [Gcycle/s] |
    | ``slot_length`` | (1,) | length of a slot, always the same [s] |

    Reward: minus the sum of the service delays of the slot's tasks [s]. ``infos["task_delays_s"]`` (B, N) holds
    each task's own.
    Start: empty queues. End: truncated when the setting's last slot is reached; that slot's tasks are seen but not
    decided, since the last transitions need them as their next states (an episode of T slots has T - 1 steps).

    Args:
        config: ``setting``: name of a preset or a settings dictionary (see
            :func:`lad_rllib.simulator.build_setting`); ``queue_unit``: ``"gcycles"`` (paper), ``"seconds"`` or
            ``"slots"``; ``num_envs``: networks in lockstep E.
        fields: The same as keywords, as ``gymnasium.make_vec`` gives them.

    Version history: v0, first release.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.simulator: EdgeSimulator

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Draw new arrivals and empty the queues.

        With a seed, episode ``k`` after this call has the arrivals of ``default_rng([seed, env index, k])``, so an
        environment among E in lockstep sees what it would see alone.
        """
        self._draw_arrivals(seed)
        self.simulator = EdgeSimulator(self.setting.network, self.arrivals)
        return self._observe(self.simulator.tasks), {}

    def step(
        self, actions: NDArray[np.integer]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Send the slot's tasks to the servers ``actions`` (E, B, N) names, and move on by one slot."""
        never = np.zeros(self.num_envs, dtype=bool)
        if self._needs_reset:
            observation, infos = self.reset()
            return observation, np.zeros(self.num_envs), never, never, infos
        actions, queues = self._actions(actions), self.simulator.queue_gcycles
        delay = self.simulator.step(actions).total_s
        self._record(actions, queues)
        self._needs_reset = self.simulator.slot == self.setting.num_slots - 1
        return (
            self._observe(self.simulator.tasks),
            -delay.sum(axis=(1, 2)),
            never,
            np.full(self.num_envs, self._needs_reset),
            {names.TASK_DELAYS: delay.astype(np.float32)},
        )
