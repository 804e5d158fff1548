"""Requests that come one by one as a Gymnasium environment: a step is one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.declared import Declared, declared
from lad_rllib.envs.episodes import draw_seed, setting_spec
from lad_rllib.simulator.requests import FACTS, Requests, RequestWorld, request_setting

if TYPE_CHECKING:
    from lad_rllib.simulator.requests.loop import View
    from lad_rllib.simulator.requests.play import RequestSimulation

Observation = dict[str, NDArray[Any]]

OF_SERVERS = (
    "service_s",
    "swap_s",
    "way_s",
    "remaining_s",
    "work_left_s",
    "ahead_s",
    "overtaken",
    "tasks",
    "makes_room",
    "declared",
    "up",
)
"""Parts of a view that have a number for each server."""
_LEAST = {"facts": -np.inf, "makes_room": -1.0}
_DEADLINE = FACTS.index("deadline_s")


class RequestEnvConfig(Declared):
    """Fields of the environment's ``env_config``; its card explains them."""

    setting: Any = "unequal-8"
    order: str | dict[str, Any] | None = None


class RequestFleetEnv(gym.Env[Observation, np.integer]):
    """Edge servers to which requests are sent one by one; one step decides one request, as soon as it arrives.

    Action: ``Discrete(A)``: the edge server of the request.

    | observation (float32) | shape | meaning | unit |
    |---|---|---|---|
    | ``service_s`` | (A,) | predicted time that each server would work on the request, its model loaded | s |
    | ``swap_s`` | (A,) | predicted time to load its model and LoRAs there before | s |
    | ``way_s`` | (A,) | time to send it there and the image back | s |
    | ``remaining_s`` | (A,) | predicted time until the server is done with what it serves now | s |
    | ``work_left_s`` | (A,) | the same and the predicted times of all that wait there | s |
    | ``ahead_s`` | (A,) | the same, of those alone that the order of service puts before the request | s |
    | ``overtaken`` | (A,) | requests that wait there and would be served after it | 1 |
    | ``tasks`` | (A,) | requests that wait there or are served | 1 |
    | ``makes_room`` | (A,) | number of the image model that would make room for the request's; -1: none has to | |
    | ``declared`` | (A,) | declared cost of those: steps x images, pixels over 512 x 512 | 1 |
    | ``up`` | (A,) | 1 where the server may get it; 0 beyond the servers of a random fleet, as all else there | 1 |
    | ``facts`` | (7,) | what it says of itself: :data:`lad_rllib.simulator.requests.FACTS`; 0 for no deadline | |

    Reward: minus the service delay that is predicted for the request when it is sent [s]. What was predicted wrongly,
    or changed by requests that overtook it, is settled in the step in which the simulation knows its delay: when it is
    taken into service. So the rewards of an episode sum to minus the sum of all delays. First in, first out and with
    work known each reward is the request's own delay; under other orders it comes in part later, and what a decision
    costs others is in the rewards of later steps.
    Infos: with the last step, ``mean_service_delay_s``: mean service delay of the episode [s].
    Start: idle servers. End: terminated when all requests are sent; the servers then finish, and the rest is settled.
    The last observation is all zeros.

    Args:
        config: ``setting``: name of a preset, a settings file, or a settings dictionary, of requests (see
            :func:`lad_rllib.simulator.requests.build_request_setting`), of random fleets, or of slots, whose tasks then
            are decided one by one; ``order``: order of service instead of the setting's, see
            :func:`lad_rllib.simulator.order.make_order`.
        fields: The same as keywords, as ``gymnasium.make`` gives them.

    Version history: v0, first release.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **fields: Any) -> None:
        settings = declared(RequestEnvConfig, {**(config or {}), **fields}, "env_config: ")
        spec = setting_spec(settings.setting) if isinstance(settings.setting, str) else settings.setting
        self.setting = request_setting(spec, settings.order)
        servers = self.setting.most_servers
        shapes = {**dict.fromkeys(OF_SERVERS, (servers,)), "facts": (len(FACTS),)}
        self.observation_space = gym.spaces.Dict(
            {name: gym.spaces.Box(_LEAST.get(name, 0.0), np.inf, shape, np.float32) for name, shape in shapes.items()}
        )
        self.action_space = gym.spaces.Discrete(servers)
        self._seed, self._episode = draw_seed(), 0
        self._unsettled: NDArray[np.int64] = np.zeros(0, np.int64)
        self._simulation: RequestSimulation | None = None

    def draw_episode(self) -> tuple[RequestWorld, Requests]:
        """Servers and requests of the next episode, a function of the seed and the episode's number alone."""
        rng = np.random.default_rng([self._seed, self._episode])
        self._episode += 1
        setting = self.setting.of_episode(rng)
        return setting.world, setting.draw(rng)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw new requests. With a seed, episode ``k`` after this call has those of ``default_rng([seed, k])``."""
        from lad_rllib.simulator.requests.play import RequestSimulation  # loads the compiler

        super().reset(seed=seed)
        if seed is not None:
            self._seed, self._episode = int(seed), 0
        self._simulation = RequestSimulation(*self.draw_episode())
        self._unsettled = np.zeros(0, np.int64)
        return self._observed(self._simulation.look()), {}

    def step(self, action: np.integer | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Send the request to the server that ``action`` names, and wait for the next one.

        Raises:
            IndexError: if the episode has no such server.
            ResetNeeded: if the episode is over.
        """
        simulation = self._simulation
        if simulation is None:
            raise gym.error.ResetNeeded("the episode is over; call reset()")
        self._unsettled = np.append(self._unsettled, simulation.next)
        predicted_s = simulation.send(int(action))
        if simulation.next < len(simulation.requests):
            observation = self._observed(simulation.look())
            return observation, -predicted_s - self._settled_s(simulation), False, False, {}
        served, nothing = simulation.finish(), self.observation_space.sample()
        for values in nothing.values():
            values[:] = 0.0
        reward = -predicted_s - self._settled_s(simulation)
        self._simulation = None
        return nothing, reward, True, False, {names.MEAN_DELAY: float(served.delay_s.mean())}

    def _settled_s(self, simulation: RequestSimulation) -> float:
        """What requests that were taken into service since the last step wait longer than was predicted [s]."""
        late_s = simulation.late_s(self._unsettled)
        waits = np.isnan(late_s)
        self._unsettled = self._unsettled[waits]
        return float(late_s[~waits].sum())

    def _observed(self, view: View) -> Observation:
        missing = (0, self.setting.most_servers - len(view.up))
        observation = {name: np.pad(np.asarray(getattr(view, name), np.float32), missing) for name in OF_SERVERS}
        facts = view.facts.astype(np.float32)
        if not np.isfinite(facts[_DEADLINE]):
            facts[_DEADLINE] = 0.0
        return {**observation, "facts": facts}

    def get_state(self) -> dict[str, int]:
        """What the requests of the next episode depend on; valid between episodes."""
        return {"seed": self._seed, "episode": self._episode}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continue from :meth:`get_state`: the next ``reset()`` draws the next episode."""
        self._seed, self._episode = int(state["seed"]), int(state["episode"])
        self._simulation = None
