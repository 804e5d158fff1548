"""What a dispatcher knows of single tasks before they are served: the simulator's world of its fleet, and the past."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.service.offer import Offer
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork, delays
from lad_rllib.simulator.requests import Requests, RequestServer, RequestWorld, plain_requests, slotted_world
from lad_rllib.simulator.requests.view import View
from lad_rllib.simulator.requests.world import FACTS

FloatArray = NDArray[np.float64]

KINDS_KEPT = 4096
"""Kinds of tasks whose service times and declared costs are remembered."""


class RequestModel:
    """Predictions of single tasks on each server, by the service models that the simulator plays.

    Args:
        world: The servers, and what they take for a request.
        history: Past requests, from which schedulers know sizes and rate; None: a scheduler of slots needs none.
        offers: What each server draws; None: an ordinary image of any model.
        result_mbit: Size of an image [Mbit]; None: as in the past.

    Raises:
        ConfigurationError: if ``offers`` is of another number of servers.

    >>> from lad_rllib.simulator.requests import LinearService, RequestServer
    >>> world = RequestWorld((RequestServer("a", {"": LinearService(per_step_s=0.1, guidance_factor=1.0)}),))
    >>> RequestModel(world).service_s(ImageTask("t", "a cat", 20, width=1024)).tolist()
    [4.0]
    """

    def __init__(
        self,
        world: RequestWorld,
        history: Requests | None = None,
        offers: Sequence[Offer] | None = None,
        result_mbit: float | None = None,
    ) -> None:
        self.world, self.history = world, history
        self.offers = [Offer()] * world.num_servers if offers is None else list(offers)
        if len(self.offers) != world.num_servers:
            raise ConfigurationError(f"the world has {world.num_servers} servers, and offers are of {len(self.offers)}")
        past_mbit = 0.0 if history is None else float(np.mean(history.result_mbit / history.images))
        self._result_mbit = past_mbit if result_mbit is None else result_mbit
        self._rate = np.array([server.link_rate_mbit_per_s for server in world.servers])
        self._numbers: dict[str, dict[str, int]] = {
            "model": {"": 0, **_numbered(history.models if history else ())},
            "loras": _numbered(history.lora_sets if history else ("",)),
            "tenant": _numbered(history.tenants if history else ()),
        }
        self._known_s = functools.lru_cache(KINDS_KEPT)(self._computed_s)
        self._known_cost = functools.lru_cache(KINDS_KEPT)(self._declared_cost)

    @classmethod
    def of_work(cls, network: EdgeNetwork, work: WorkModel) -> RequestModel:
        """That of a fleet whose servers differ in capacity alone, where steps alone decide on the work."""
        alike = {"pixel_exponent": 0.0, "guidance_factor": 1.0, "further_image": 0.0}
        density, overhead_steps = work.density_gcycles_per_step, work.overhead_steps
        world = slotted_world(network, density=density, overhead_steps=overhead_steps, service=alike)
        return cls(world, result_mbit=work.result_mbit)

    def with_server(self, server: RequestServer, offer: Offer | None = None) -> RequestModel:
        """The same with another server, the last one."""
        world = replace(self.world, servers=(*self.world.servers, server))
        return self._on(world, [*self.offers, offer or Offer()])

    def without_server(self, position: int) -> RequestModel:
        """The same without the server at a position.

        Raises:
            ConfigurationError: if there is no other.
        """
        servers, offers = list(self.world.servers), list(self.offers)
        del servers[position], offers[position]
        return self._on(replace(self.world, servers=tuple(servers)), offers)

    def with_history(self, history: Requests) -> RequestModel:
        """The same with other past requests."""
        return RequestModel(self.world, history, self.offers, self._result_mbit)

    def _on(self, world: RequestWorld, offers: Sequence[Offer]) -> RequestModel:
        """The same on other servers; a scheduler needs a past there, and gets an ordinary request if there is none."""
        history = plain_requests(np.zeros(1), 20.0) if self.history is None else self.history
        return RequestModel(world, history, offers, self._result_mbit)

    def service_s(self, task: ImageTask) -> FloatArray:
        """Predicted computing delay on each server, the task's model loaded [s], shape (A,)."""
        guided = None if task.guidance is None else task.guidance > 1
        size, model = (task.width, task.height), task.model or ""
        return self._known_s(task.denoising_steps, size, guided, task.images, model, bool(task.loras)).copy()

    def way_s(self, task: ImageTask) -> FloatArray:
        """Time to send the task to each server and its images back [s], shape (A,)."""
        is_home = np.array([task.station in server.stations for server in self.world.servers])
        upload_s = delays.upload_delay_s(task.upload_mbit, self._rate, is_home)
        return upload_s + delays.download_delay_s(self._result_mbit * task.images, self._rate)

    def idle_view(self) -> View:
        """What an ordinary task would meet if every server were up and had nothing to do."""
        task, number = ImageTask("warm-up", "warm-up", 20), self.world.num_servers
        zeros = np.zeros(number)
        return View(
            now_s=0.0,
            service_s=self.service_s(task),
            swap_s=zeros,
            way_s=self.way_s(task),
            remaining_s=zeros,
            work_left_s=zeros,
            ahead_s=zeros,
            overtaken=np.zeros(number, dtype=np.int64),
            tasks=np.zeros(number, dtype=np.int64),
            makes_room=np.full(number, -1),
            declared=zeros,
            up=np.ones(number, dtype=bool),
            facts=self.facts(task),
        )

    def declared_cost(self, task: ImageTask) -> float:
        """Steps x pixels x images, see :attr:`~lad_rllib.simulator.requests.Requests.declared_cost`."""
        return self._known_cost(task.denoising_steps, (task.width, task.height), task.images)

    def facts(self, task: ImageTask) -> FloatArray:
        """What the task says of itself, see :data:`~lad_rllib.simulator.requests.world.FACTS`."""
        said = {
            "declared_cost": self.declared_cost(task),
            "priority": task.priority,
            "deadline_s": np.inf if task.deadline_s is None else task.deadline_s,
            "model": self._number("model", task.model or ""),
            "loras": self._number("loras", lora_set(task)),
            "station": task.station,
            "tenant": self._number("tenant", task.tenant),
        }
        return np.array([said[name] for name in FACTS], np.float64)

    def model_numbers(self, models: Sequence[str | None]) -> NDArray[np.int64]:
        """Numbers of some image models; -1 for None."""
        return np.array([-1 if model is None else self._number("model", model) for model in models], np.int64)

    def _number(self, kind: str, name: str) -> int:
        """Number of a name; one that the past did not have gets the next."""
        numbers = self._numbers[kind]
        return numbers.setdefault(name, len(numbers))

    def _declared_cost(self, steps: int, size: tuple[int | None, int | None], images: int) -> float:
        return float(self._request(steps, size, None, images).declared_cost[0])

    def _computed_s(
        self,
        steps: int,
        size: tuple[int | None, int | None],
        guided: bool | None,
        images: int,
        model: str,
        has_loras: bool,
    ) -> FloatArray:
        seconds = np.empty(self.world.num_servers)
        for offer in dict.fromkeys(self.offers):
            request = self._request(steps, size, guided, images, offer)
            request = replace(request, models=(model,), loras=np.array([int(has_loras)]))
            here = [one == offer for one in self.offers]
            seconds[here] = self.world.service_s(request)[0, here]
        return seconds

    def _request(
        self,
        steps: int,
        size: tuple[int | None, int | None],
        guided: bool | None,
        images: int,
        offer: Offer | None = None,
    ) -> Requests:
        """A task as a request of the simulator, with what a server (the first) does for those that do not say."""
        offer = offer or self.offers[0]
        return plain_requests(
            np.zeros(1),
            float(steps),
            width=size[0] or offer.width,
            height=size[1] or offer.height,
            guided=offer.guided if guided is None else guided,
            images=images,
        )


def lora_set(task: ImageTask) -> str:
    """Name of a task's set of LoRAs, as records have it; empty for none."""
    return " ".join(task.loras)


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
