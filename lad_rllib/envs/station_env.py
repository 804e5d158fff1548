"""The edge network as an RLlib multi-agent environment: a step is one task's decision, an agent is a base station."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from lad_rllib import names
from lad_rllib.envs.cut_episodes import repair_cuts
from lad_rllib.envs.episodes import EnvConfig, draw_episode, draw_seed, read_env_config
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import Arrivals, EdgeSimulator, SlotDelays, TaskByTask, stack_arrivals

MAX_EMPTY_EPISODES = 100

AgentDict = dict[str, Any]


class StationMultiAgentEnv(MultiAgentEnv):
    """One agent per base station, one step per task: for any of RLlib's multi-agent algorithms.

    The agents ``station_0``, ``station_1``, ... take turns: within a slot, station 0 decides its tasks one after the
    other, then station 1, ...; stations without a task are passed over. The problem is that of
    :class:`~lad_rllib.envs.fleet_env.FleetVectorEnv`: same seed and same decisions give the same arrivals (those of
    its environment 0), delays and queues. That one is far faster, since a step decides a whole slot.

    Action: ``Discrete(A)``, the edge server of the agent's task.

    | observation (float32) | meaning | unit |
    |---|---|---|
    | 0 | input size of the task to decide | Mbit |
    | 1 | its workload | Gcycle |
    | 2 .. A+1 | work queued at each server at slot start | Gcycle; as waiting time: s |

    As in the paper, a station does not see what was sent to the servers earlier in the slot.

    Reward: minus the service delay of the task [s], given to its station at once.
    Infos: the parts of the delay of the last task that the station sent (``names.DELAY_PARTS``) [s]. They come with
    the reward, and again with the station's next observation if that is later (RLlib's episodes keep infos
    of observations only).
    Start: empty queues. End: truncated when the setting's last slot is reached; that slot's tasks are seen but not
    decided. All stations receive a last observation: their first task of that slot, or a task of size and work 0 if
    they have none. Only ``truncateds["__all__"]`` is set: RLlib takes an episode whose agents are all truncated one by
    one for a terminated one, and values would not be bootstrapped. An episode without any task to decide is passed
    over.

    Args:
        config: ``setting``: name of a preset or a settings dictionary (see
            :func:`lad_rllib.simulator.build_setting`); ``queue_unit``: ``"gcycles"`` (paper), or a queue's
            waiting time in ``"seconds"`` or ``"slots"``.

    Version history: v0, first release.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        _, self.setting, self._queue_scale = read_env_config(EnvConfig, config)
        network = self.setting.network
        self.possible_agents = [f"station_{station}" for station in range(network.num_stations)]
        self.agents = list(self.possible_agents)
        self.observation_spaces = {
            agent: gym.spaces.Box(0.0, np.inf, (2 + network.num_servers,), np.float32) for agent in self.agents
        }
        self.action_spaces: dict[str, gym.Space] = {
            agent: gym.spaces.Discrete(network.num_servers) for agent in self.agents
        }
        super().__init__()
        repair_cuts()
        self._seed, self._episode = draw_seed(), 0
        self._last_infos: dict[str, dict[str, float]] = {}
        self.simulator: EdgeSimulator
        self._tasks: TaskByTask

    @property
    def arrivals(self) -> Arrivals:
        """Arrivals of the present episode, with the leading axis E = 1."""
        return self.simulator.arrivals

    @property
    def mean_delay_s(self) -> float:
        """Mean service delay of the tasks decided in this episode so far [s]."""
        return self._tasks.mean_delay_s

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AgentDict, dict[str, dict[str, float]]]:
        """Draw new arrivals, empty the queues, and ask the first task's station.

        With a seed, episode ``k`` after this call has the arrivals of ``default_rng([seed, 0, k])``.
        """
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._seed, self._episode = int(seed), 0
        for _ in range(MAX_EMPTY_EPISODES):
            arrivals = draw_episode(self.setting, self._seed, 0, self._episode)
            self._episode += 1
            self.simulator = EdgeSimulator(self.setting.network, stack_arrivals([arrivals]))
            self._tasks = TaskByTask(self.simulator, self.setting.num_slots - 1)
            if not self._tasks.done:
                self._last_infos = {}
                return self._next_observation(), {}
        raise ConfigurationError(
            f"setting {self.setting.name!r}: no task arrived in {MAX_EMPTY_EPISODES} episodes, nothing to decide"
        )

    def step(self, action_dict: Mapping[str, Any]) -> tuple[AgentDict, AgentDict, AgentDict, AgentDict, AgentDict]:
        """Send the present task to a server; ``action_dict`` holds the action of its station alone."""
        agent = self.possible_agents[self._tasks.station] if not self._tasks.done else None
        if agent is None or list(action_dict) != [agent]:
            turn = "the episode is over; call reset()" if agent is None else f"it is the turn of {agent}"
            raise ValueError(f"{turn}, got actions of {list(action_dict)}")
        delays = self._tasks.send(int(action_dict[agent]))
        self._last_infos[agent] = _parts(delays)
        over = self._tasks.done
        observations = self._last_observations() if over else self._next_observation()
        infos = {a: self._last_infos[a] for a in (agent, *observations) if a in self._last_infos}
        return observations, {agent: -float(delays.total_s)}, {"__all__": False}, {"__all__": over}, infos

    def _next_observation(self) -> dict[str, NDArray[np.float32]]:
        tasks = self._tasks
        return {self.possible_agents[tasks.station]: self._observe(tasks.task_mbit, tasks.workload_gcycles)}

    def _last_observations(self) -> dict[str, NDArray[np.float32]]:
        tasks = self.simulator.tasks
        size = np.where(tasks.mask, tasks.task_mbit, 0.0)[0, :, 0]
        work = tasks.workload_gcycles[0, :, 0]
        return {agent: self._observe(size[b], work[b]) for b, agent in enumerate(self.possible_agents)}

    def _observe(self, task_mbit: float, workload_gcycles: float) -> NDArray[np.float32]:
        queues = self.simulator.seen_queue_gcycles[0] * self._queue_scale
        return np.concatenate(((task_mbit, workload_gcycles), queues)).astype(np.float32)


def _parts(delays: SlotDelays) -> dict[str, float]:
    values = (delays.upload_s, delays.waiting_s, delays.computing_s, delays.download_s)
    return dict(zip(names.DELAY_PARTS, map(float, values), strict=True))
