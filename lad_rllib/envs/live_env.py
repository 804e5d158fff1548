"""The fleet environment over real edge servers: slots in wall time, delays as they were measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib import names
from lad_rllib.declared import Text
from lad_rllib.edge.errors import EdgeError
from lad_rllib.envs.episodes import FleetEnvConfig
from lad_rllib.envs.fleet_base import FleetBaseEnv
from lad_rllib.envs.live_slots import LiveSlots
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet, FleetModel, load_fleet
from lad_rllib.service import Dispatcher, read_prompts
from lad_rllib.simulator import tasks_of_slot


class LiveEnvConfig(FleetEnvConfig):
    """What the ``env_config`` of :class:`LiveFleetVectorEnv` may say."""

    fleet: Any = "digits"
    sharing: Literal["own", "shared"] = "own"
    in_process: bool = False
    prompts: Annotated[list[Text], Field(min_length=1)] | Text | None = None
    failure_delay_s: Annotated[float, Field(gt=0, le=1e9)] | None = None


class LiveFleetVectorEnv(FleetBaseEnv):
    """The environment of :class:`~lad_rllib.envs.fleet_env.FleetVectorEnv` with real tasks on real servers.

    Action: ``MultiDiscrete``, shape (B, N): the edge server of each task; ignored where there is no task.

    | observation | shape | unit |
    |---|---|---|
    | ``tasks`` | (B, N, 2) | input size [Mbit], workload [Gcycle]; 0 where there is no task |
    | ``task_counts`` | (B,) | tasks that arrived in this slot |
    | ``queues`` | (A,) | work queued at slot start [Gcycle], or its waiting time [s] or [slots] (``queue_unit``) |
    | ``capacities`` | (A,) | computing capacity, always the same [Gcycle/s] |
    | ``slot_length`` | (1,) | length of a slot, always the same [s] |

    A policy moves from the simulated environment to this one. What differs:

    - A slot lasts ``slot_s`` of the setting, in the fleet's seconds (an emulated fleet may be faster than the wall
      clock). If the decisions of a slot come after its end, it lasts longer (``infos["slot_overrun_s"]``).
    - A task's delay is known when its image is there: ``infos["reported_delays"]``, rows (slot, station, index, delay
      [s]), instead of ``task_delays_s``. The last step of an episode waits for all images. A task that ends in an error
      counts ``failure_delay_s`` (``infos["failed_tasks"]`` says how many did).
    - ``queues`` is predicted from the tasks sent and the images received, at the servers' measured speeds; with a
      shared fleet the servers report it, since others use them, too.

    Reward: minus the sum of the delays that were reported in the step [s].
    Start: an idle fleet (a shared one: as it is). End: truncated when the setting's last slot is reached, as in the
    simulator.

    Args:
        config: ``fleet``: name, file or mapping, see :func:`~lad_rllib.fleet.load_fleet` (``"digits"``).
            ``setting``: of that fleet, from a calibration: a file or a dictionary. ``queue_unit``: ``"gcycles"``,
            ``"seconds"`` or ``"slots"``. ``sharing``: ``"own"`` (default; every environment starts a fleet of its own
            at its first reset) or ``"shared"`` (one that was started with ``lad-rllib fleet up``). ``in_process``:
            servers in threads of this process instead of Ray actors (false). ``prompts``: list, or text file (the
            package's). ``failure_delay_s`` [s] (the length of an episode). ``num_envs``: must be 1; use more
            env runners.
        fields: The same as keywords, as ``gymnasium.make_vec`` gives them.

    Version history: v0, first release.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(config, LiveEnvConfig, **fields)
        assert isinstance(self.settings, LiveEnvConfig)
        self._live_settings = settings = self.settings
        if self.num_envs != 1:
            raise ConfigurationError(
                f"a live environment is one fleet in wall time, but num_envs is {self.num_envs}; use more env runners "
                "instead of more environments in each"
            )
        if settings.in_process and settings.sharing == "shared":
            raise ConfigurationError(
                "in_process and sharing 'shared' contradict each other: a shared fleet has processes of its own; leave "
                "one of them out"
            )
        self._fleet_spec = load_fleet(settings.fleet)
        self._model = FleetModel.from_setting(self.setting)
        self._model.check_fleet(self._fleet_spec)
        self._prompts = settings.prompts if isinstance(settings.prompts, list) else read_prompts(settings.prompts)
        self._slot_s = self.setting.network.slot_s
        self._failure_delay_s = settings.failure_delay_s or self.setting.num_slots * self._slot_s
        self._slot_wall_s = self._slot_s * self._fleet_spec.time_scale
        self._slot, self._slot_begin = 0, 0.0
        self._fleet: Fleet | None = None
        self._dispatcher: Dispatcher
        self._live: LiveSlots
        self._pollers: ThreadPoolExecutor | None = None

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Draw new arrivals as the simulator would with that seed, and start the clock; the first time, the fleet.

        Raises:
            ConfigurationError: if the fleet cannot be started or found.
        """
        if self._fleet is None:
            self._start()
        self._live.give_up()
        self._draw_arrivals(seed)
        self._slot, self._slot_begin = 0, time.perf_counter()
        return self._observation(), {}

    def step(
        self, actions: NDArray[np.integer]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Submit the slot's tasks to the servers that ``actions`` (1, B, N) names, and wait for the slot's end."""
        never = np.zeros(1, dtype=bool)
        if self._needs_reset:
            observation, infos = self.reset()
            return observation, np.zeros(1), never, never, infos
        actions = self._actions(actions)
        self._live.send(self.arrivals.episodes(0), self._slot, actions[0])
        self._record(actions, self._queue_gcycles)
        end = self._slot_begin + self._slot_wall_s
        overrun_s = max(0.0, time.perf_counter() - end) / self._fleet_spec.time_scale
        reported, failed = self._live.gather(end)
        self._slot += 1
        self._slot_begin = max(end, time.perf_counter())
        observation = self._observation()
        self._needs_reset = self._slot == self.setting.num_slots - 1
        if self._needs_reset:
            rest, failed_late = self._live.gather(None)
            reported, failed = np.concatenate([reported, rest]), failed + failed_late
        infos = {
            names.REPORTED_DELAYS: reported[None],
            names.SLOT_OVERRUN: np.array([overrun_s]),
            names.FAILED_TASKS: np.array([failed]),
        }
        return (
            observation,
            -reported[:, 3].sum(keepdims=True).astype(float),
            never,
            np.array([self._needs_reset]),
            infos,
        )

    def _start(self) -> None:
        if self._live_settings.sharing == "shared":
            self._fleet = Fleet.attach(self._fleet_spec)
            self._pollers = ThreadPoolExecutor(len(self._fleet.servers), thread_name_prefix="queues")
        else:
            try:
                self._fleet = Fleet.start(self._fleet_spec, in_process=self._live_settings.in_process)
            except EdgeError as error:  # of a server that cannot load its model, or is lost at once
                raise ConfigurationError(str(error)) from error
        self._dispatcher = Dispatcher(
            self._fleet.servers,
            self._model.network,
            self._model.work,
            None,
            time_scale=self._fleet_spec.time_scale,
        )
        self._live = LiveSlots(self._dispatcher, self._prompts, self._failure_delay_s)

    def _observation(self) -> dict[str, NDArray[Any]]:
        self._queue_gcycles = (self._queue_s() * self.setting.network.capacity_gcycles_per_s)[None]
        return self._observe(tasks_of_slot(self.setting.network, self.arrivals, self._slot, self._queue_gcycles))

    def _queue_s(self) -> NDArray[np.float64]:
        """Predicted time until each server is done with what it has [s], shape (A,)."""
        predicted = self._dispatcher.queue_s
        if self._pollers is None:
            return predicted
        assert self._fleet is not None
        for index, reported_s in enumerate(self._pollers.map(_reported_queue_s, self._fleet.servers)):
            if reported_s is not None:
                predicted[index] = reported_s
        return predicted

    def close_extras(self, **kwargs: Any) -> None:
        """End the dispatcher, and the fleet if it is this environment's own."""
        fleet, self._fleet = getattr(self, "_fleet", None), None
        if fleet is not None:
            self._dispatcher.close()
            fleet.close()
        if getattr(self, "_pollers", None) is not None:
            self._pollers.shutdown(wait=False)  # type: ignore[union-attr]


def _reported_queue_s(server: Any) -> float | None:
    """A server's own prediction for its queue [s]; None if it does not answer or has none yet."""
    try:
        waiting_s: float | None = server.status().work_queued_s
    except EdgeError:
        return None
    return waiting_s
