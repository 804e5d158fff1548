"""Which models and LoRAs a server is predicted to have in memory, as the simulator predicts it."""

from __future__ import annotations

from collections.abc import Sequence

from lad_rllib.edge.task import ImageTask
from lad_rllib.service.request_model import lora_set
from lad_rllib.simulator.requests import RequestServer


class PredictedMemory:
    """A server's memory, from the order in which it is predicted to serve tasks.

    The counterpart of ``expected_swap_s``, ``makes_room`` and ``bring_in`` in
    :mod:`lad_rllib.simulator.requests.memory`.

    Args:
        server: What it holds at once, and how long loading takes; None: it holds all.

    Attributes:
        server: The same.

    >>> memory = PredictedMemory(RequestServer("s", {}, models_in_memory=1, swap_s={"": 8.0}))
    >>> task = ImageTask("t", "a cat", 20, model="sdxl")
    >>> memory.swap_s(task, []), memory.swap_s(task, ["sdxl"])
    (8.0, 0.0)
    >>> memory.use(task), memory.swap_s(task, []), memory.swap_s(task, ["flux"])
    (8.0, 0.0, 8.0)
    >>> memory.makes_room(task, []), memory.makes_room(ImageTask("u", "a dog", 20, model="flux"), [])
    (None, 'sdxl')
    """

    def __init__(self, server: RequestServer | None = None) -> None:
        self.server = server
        self._held: list[str] = []  # the least recently used first
        self._loras = ""

    def use(self, task: ImageTask) -> float:
        """The server begins with a task; returns how long it loads [s]."""
        server, model = self.server, task.model or ""
        if server is None:
            return 0.0
        seconds, room, loras = 0.0, server.models_in_memory, lora_set(task)
        if model in self._held:
            self._held.remove(model)
        elif room:
            seconds, self._loras = server.load_s(model), ""  # a model that is loaded has no LoRAs
        self._held = [*self._held, model][-room:] if room else []
        if loras and loras != self._loras:
            seconds, self._loras = seconds + server.lora_swap_s, loras
        return seconds

    def makes_room(self, task: ImageTask, waiting: Sequence[str]) -> str | None:
        """The model that is predicted to leave for a task's if it joined now; None: none has to."""
        room, model = 0 if self.server is None else self.server.models_in_memory, task.model or ""
        if len(self._held) < room or room == 0 or model in self._held or model in waiting:
            return None
        return next((one for one in self._held if one not in waiting), self._held[0])

    def swap_s(self, task: ImageTask, waiting: Sequence[str]) -> float:
        """Time to load a task's model and LoRAs if it joined now [s], from the models of the tasks that wait there."""
        server, model = self.server, task.model or ""
        if server is None:
            return 0.0
        room, wanted, loras = server.models_in_memory, set(waiting), lora_set(task)
        loras_s = server.lora_swap_s if loras else 0.0
        now_s = loras_s if loras != self._loras else 0.0
        if room == 0 or model in wanted:
            return now_s
        load_s = loras_s + server.load_s(model)
        if model not in self._held:
            return load_s
        older = room - len(self._held) + sum(one not in wanted for one in self._held[: self._held.index(model)])
        return load_s if len(wanted.difference(self._held)) > older else now_s
