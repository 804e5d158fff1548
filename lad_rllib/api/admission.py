"""Lets requests in one after the other, each on what those before it have added; refuses what would wait too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lad_rllib.api.errors import ApiError
from lad_rllib.api.settings import ApiSettings
from lad_rllib.edge.task import ImageTask
from lad_rllib.service.dispatcher import Dispatcher
from lad_rllib.service.in_flight import TaskHandle
from lad_rllib.service.server_load import ServerLoad
from lad_rllib.simulator.requests.view import View

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Prediction:
    """What was predicted of a request on each server when it came; arrays have shape (A,), one value for each server.

    Attributes:
        servers: Names of the servers.
        states: What each was: ``up``, ``down`` or ``draining``.
        service_s: Time that it would work on it, its model loaded [s].
        way_s: Time to send the request there and the image back [s].
        up: Whether each may get it.
        wait_s: Until its image would be begun [s].
        delay_s: Until its image would be here [s].
        added_s: By how much those that wait now would be later, all together [s].
        fleet_s: How long the whole fleet would work on it, with all servers at once [s].
    """

    servers: tuple[str, ...]
    states: tuple[str, ...]
    service_s: NDArray[np.float64]
    way_s: NDArray[np.float64]
    up: NDArray[np.bool_]
    wait_s: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    added_s: NDArray[np.float64]
    fleet_s: float

    @property
    def shortest_wait_s(self) -> float:
        """Wait at the server that would begin first [s]; 0 if none is up, as one may come back."""
        return float(self.wait_s[self.up].min()) if self.up.any() else 0.0

    @property
    def shortest_delay_s(self) -> float:
        """Delay at the server that would be done first [s]; 0 if none is up."""
        return float(self.delay_s[self.up].min()) if self.up.any() else 0.0

    def by_server(self, values: NDArray[np.float64]) -> dict[str, float]:
        """Values of the servers that are up, by name."""
        return {self.servers[i]: round(float(values[i]), 4) for i in np.flatnonzero(self.up)}

    def why(self, server: str) -> str:
        """Why a server may have been chosen, in a few words."""
        if server not in self.servers or not self.up[self.servers.index(server)]:
            return "another server was lost or full"
        here = self.servers.index(server)
        later_s = float(self.delay_s[here]) - self.shortest_delay_s
        if self.up.sum() == 1:
            return "the only server that is up"
        if later_s <= 1e-9:
            return "done there first"
        least = int(np.flatnonzero(self.up)[self.delay_s[self.up].argmin()])
        saved_s = float(self.added_s[least] - self.added_s[here])
        spared = f", others wait {saved_s:.2f} s less than with {self.servers[least]}" if saved_s > 0 else ""
        return f"{later_s:.2f} s later than with {self.servers[least]}{spared}; keeps that one free"


class Admission:
    """Decides whether a request is let in, and hands it to the dispatcher.

    Requests are looked at one after the other, in the dispatcher's thread, each on what those before it have added.

    Args:
        dispatcher: Serves the requests.
        settings: Longest predicted wait.
    """

    def __init__(self, dispatcher: Dispatcher, settings: ApiSettings) -> None:
        self._dispatcher, self._settings = dispatcher, settings

    def predict(self, task: ImageTask) -> Prediction:
        """What is predicted of a task on each server if it came now."""
        loads = self._dispatcher.loads
        while True:  # servers may come or go at any moment
            view, before = self._dispatcher.view(task), loads
            loads = self._dispatcher.loads
            if [*map(id, before)] == [*map(id, loads)]:
                return _prediction(view, loads)

    def admit(
        self, task: ImageTask, check: Callable[[], object], begin: Callable[[TaskHandle, Prediction], Answer]
    ) -> Future[Answer]:
        """Hand a task to the dispatcher; never waits.

        Args:
            task: The task.
            check: Called first; raises an ``ApiError`` if the task is refused whatever its wait.
            begin: Called with the task's future and what is predicted of it, before it is on its way.

        Returns:
            A future of what ``begin`` returns. It fails with what ``check`` raises, and with an ``ApiError`` if the
            task would wait too long, or miss its deadline.

        Raises:
            ConfigurationError: if the dispatcher is closed.
        """

        def let_in(handle: TaskHandle, view: View) -> Answer:
            check()
            prediction = _prediction(view, self._dispatcher.loads)
            self._check_wait(task, prediction)
            return begin(handle, prediction)

        return self._dispatcher.admit(task, let_in)

    def _check_wait(self, task: ImageTask, prediction: Prediction) -> None:
        over_s = prediction.shortest_wait_s - self._settings.max_wait_s
        if over_s > 0:
            raise self._busy(
                f"a request now would wait for {prediction.shortest_wait_s:.0f} s, longer than the service lets one",
                "busy",
                over_s,
            )
        if task.deadline_s is not None and prediction.shortest_delay_s > task.deadline_s:
            raise self._busy(
                f"deadline_s is {task.deadline_s:g}, but the image would take {prediction.shortest_delay_s:.3g} s now",
                "deadline_too_short",
                prediction.shortest_delay_s - task.deadline_s,
                "deadline_s",
            )

    def _busy(self, message: str, code: str, fleet_s: float, param: str | None = None) -> ApiError:
        """A refusal, to try again when the fleet has worked for so long."""
        return ApiError(429, message, code, param=param, retry_after_s=fleet_s * self._dispatcher.time_scale)


def _prediction(view: View, loads: Sequence[ServerLoad]) -> Prediction:
    """What is predicted of a task, from what it would meet on the servers."""
    work_s = view.swap_s + view.service_s
    up = np.asarray(view.up, bool)
    return Prediction(
        servers=tuple(load.name for load in loads),
        states=tuple(load.state for load in loads),
        service_s=view.service_s,
        way_s=view.way_s,
        up=up,
        wait_s=view.ahead_s + view.swap_s,
        delay_s=view.way_s + view.ahead_s + work_s,
        added_s=np.asarray(view.overtaken * work_s, float),
        fleet_s=1.0 / float((1.0 / np.maximum(view.service_s[up], 1e-9)).sum()) if up.any() else 0.0,
    )
