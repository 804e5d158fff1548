"""What a server can draw, as a dispatcher knows it before any task is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """What a server draws for a task that does not say, and for which models tasks may ask it.

    Attributes:
        width: Width [pixel].
        height: Height [pixel].
        guided: Whether guidance is on.
        models: Image models that it has, by the names that tasks call them; empty: any.
        chooses: Whether it is told the name of a task's model; one that has a single model may not take names.

    >>> [Offer(models=("sdxl", "flux")).has(model) for model in ("flux", "sd3", None)], Offer().has("sd3")
    ([True, False, True], True)
    """

    width: int = 512
    height: int = 512
    guided: bool = True
    models: tuple[str, ...] = ()
    chooses: bool = True

    def has(self, model: str | None) -> bool:
        """Whether it has what a task asks for; None: any model will do."""
        return model is None or not self.models or model in self.models
