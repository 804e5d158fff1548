"""How long a server will work on tasks: drawing them, and bringing their models and LoRAs into memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lad_rllib.edge.engines.engine import EngineDescription, EngineOutput
from lad_rllib.edge.engines.residency import Swap
from lad_rllib.edge.fit import DelayFit, DelayModel
from lad_rllib.edge.recovery import ManagedEngine
from lad_rllib.edge.task import ImageTask


class SwapTimes:
    """What bringing models and LoRAs into memory took a server.

    Args:
        model_s: Expected for a model before any was measured [s].
        lora_s: The same for a LoRA [s].

    >>> times = SwapTimes(8.0, 4.0)
    >>> times.seconds("sdxl", Swap(loads_model=True, loads=("ink",)))
    12.0
    >>> times.add("sdxl", Swap(loads_model=True), 5.0)
    >>> times.seconds("sdxl", Swap(loads_model=True, loads=("ink",))), times.seconds("flux", Swap(loads_model=True))
    (9.0, 5.0)
    """

    def __init__(self, model_s: float, lora_s: float) -> None:
        self._latest_s: dict[str, float] = {}
        self._any_s, self._lora_s = model_s, lora_s

    def knows(self, model: str) -> bool:
        """Whether a model was brought in before."""
        return model in self._latest_s

    def add(self, model: str, swap: Swap, seconds: float) -> None:
        """Count what a swap took [s]."""
        if swap.loads_model:
            self._any_s = self._latest_s[model] = max(0.0, seconds - len(swap.loads) * self._lora_s)
        elif swap.loads:
            self._lora_s = seconds / len(swap.loads)

    def seconds(self, model: str, swap: Swap) -> float:
        """What a swap is predicted to take [s]."""
        loading_s = self._latest_s.get(model, self._any_s) if swap.loads_model else 0.0
        return loading_s + len(swap.loads) * self._lora_s


class Prediction:
    """What a server knows of its own speed, learned from every image.

    Args:
        engine: The server's.
    """

    def __init__(self, engine: ManagedEngine) -> None:
        self._engine = engine
        description = engine.engine.describe()
        self.delays = DelayModel(description.service)
        self._swaps = SwapTimes(description.swap_s, description.lora_swap_s)

    def describe(self, model: str | None = None) -> EngineDescription:
        """The engine at present, to tasks that name a model."""
        engine = self._engine.engine
        return engine.describe(model) if model else engine.describe()

    def line(self, task: ImageTask) -> DelayFit | None:
        """Computing delay of images like a task's without swaps; None before anything is known."""
        return self.delays.fit(self.describe(task.model).kind_of(task))

    def service_s(self, task: ImageTask, steps_left: int) -> float:
        """How long a task with so many steps left takes without swaps, as its key in the order of service has it [s].

        Before anything is known that is its declared work: a second for each step, image and million pixels.
        """
        line = self.line(task)
        if line is not None:
            return line.predict_s(steps_left)
        kind = self.describe(task.model).kind_of(task)
        return steps_left * task.images * max(1, kind.width * kind.height) / 1e6

    def work_s(self, tasks: Sequence[ImageTask]) -> tuple[float, float] | None:
        """Time for tasks that are served in this order, swaps included [s]; None before anything is known.

        Returns:
            That of all, and the last one's part of it.
        """
        swaps_s, last_s, seconds = self._swaps_s(tasks), 0.0, 0.0
        alike: dict[tuple[object, ...], list[ImageTask]] = defaultdict(list)
        for task in tasks:  # few kinds of tasks, however long the queue is
            look = (task.model, not task.loras, task.width, task.height, task.guidance, task.images)
            alike[look, task.denoising_steps].append(task)
        for group in alike.values():
            line = self.line(group[0])
            if line is None:
                return None
            own_s = line.predict_s(group[0].denoising_steps)
            seconds += len(group) * own_s
            last_s = own_s if group[-1] is tasks[-1] else last_s
        return seconds + sum(swaps_s), last_s + sum(swaps_s[-1:])

    def _swaps_s(self, tasks: Sequence[ImageTask]) -> list[float]:
        """Swap of each task, served in this order [s]; empty if there is none at all."""
        description = self.describe()
        residency = description.residency
        asked = [(task.model or description.model, task.loras) for task in tasks]
        if residency is None or not any(residency.use(*one)[1] for one in set(asked)):
            return []
        swaps_s = []
        for model, loras in asked:
            residency, swap = residency.use(model, loras)
            swaps_s.append(self._swaps.seconds(model, swap))
        return swaps_s

    def swap(self, task: ImageTask) -> Swap:
        """What has to be brought into memory for a task that is served next."""
        description = self.describe()
        residency = description.residency
        return Swap() if residency is None else residency.use(task.model or description.model, task.loras)[1]

    def learn(self, task: ImageTask, output: EngineOutput, swap: Swap, computing_s: float) -> None:
        """Count an image that a warm server took ``computing_s`` for [s]; the first one of a model is cold."""
        description = self.describe(task.model)
        was_cold = swap.loads_model and not self._swaps.knows(description.model)
        self._swaps.add(description.model, swap, output.swap_s)
        if not was_cold:
            kind = replace(description.kind_of(task), width=output.width, height=output.height)
            self.delays.add(kind, task.denoising_steps, computing_s - output.swap_s)
