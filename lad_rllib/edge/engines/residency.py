"""Which models and LoRAs a server has in memory, and which make room for others: least recently used first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from lad_rllib.declared import Declared, shown, suggestion
from lad_rllib.edge.errors import InvalidRequest
from lad_rllib.edge.task import MAX_LORAS

MAX_MODELS = 1000
"""Most models of one server."""


class ResidencySettings(Declared):
    """How much a server keeps in memory."""

    models_in_memory: Annotated[int, Field(ge=1, le=MAX_MODELS)] = 1
    """Models kept in memory; the one used least recently makes room for another."""
    loras_in_memory: Annotated[int, Field(ge=0, le=MAX_LORAS)] = 4
    """LoRAs kept in each model; more only while an image needs more."""

    def empty(self) -> Residency:
        """Memory with nothing in it yet."""
        return Residency(self.models_in_memory, self.loras_in_memory)


def check_has(kind: str, known: Collection[str], names: Iterable[str]) -> None:
    """Refuse the first name that a server does not know; one that lists none takes any.

    Args:
        kind: What is named, for the message.
        known: Names that the server knows.
        names: Names that a task asks for.

    Raises:
        InvalidRequest: naming it and the closest that is known.
    """
    for name in names:
        if known and name not in known:
            raise InvalidRequest(f"this server has no {kind} {shown(name)}; {suggestion(name, known)}")


@dataclass(frozen=True)
class Swap:
    """What has to happen in memory before an image can be made.

    Attributes:
        loads_model: Whether its model has to be loaded.
        loads: LoRAs to load into the model.
        evicts: Models to remove, with their LoRAs.
        unloads: LoRAs to remove from the model.
    """

    loads_model: bool = False
    loads: tuple[str, ...] = ()
    evicts: tuple[str, ...] = ()
    unloads: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.loads_model or bool(self.loads)


@dataclass(frozen=True)
class Residency:
    """Models and LoRAs in memory at one moment; a value, so that any thread may read it and predict with it.

    Attributes:
        models_in_memory: Models that fit.
        loras_in_memory: LoRAs that a model keeps.
        models: Each model with its LoRAs, both with the one used least recently first.
    """

    models_in_memory: int = 1
    loras_in_memory: int = 4
    models: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def use(self, model: str, loras: Sequence[str] = ()) -> tuple[Residency, Swap]:
        """Memory once an image with this model and these LoRAs is made, and what has to be swapped for it.

        >>> memory = Residency(models_in_memory=1).use("a", ["ink"])[0]
        >>> memory.use("a", ["ink"])[1], memory.use("b")[1].evicts
        (Swap(loads_model=False, loads=(), evicts=(), unloads=()), ('a',))
        """
        others = [one for one in self.models if one[0] != model]
        had = dict(self.models).get(model, ())
        room = max(0, len(others) + 1 - self.models_in_memory)
        wanted = tuple(dict.fromkeys(loras))
        kept = [lora for lora in had if lora not in wanted]
        surplus = max(0, min(len(kept), len(kept) + len(wanted) - self.loras_in_memory))
        now = (model, (*kept[surplus:], *wanted))
        swap = Swap(
            loads_model=len(others) == len(self.models),
            loads=tuple(lora for lora in wanted if lora not in had),
            evicts=tuple(name for name, _ in others[:room]),
            unloads=tuple(kept[:surplus]),
        )
        return replace(self, models=(*others[room:], now)), swap

    def without(self, *models: str) -> Residency:
        """The same without some models."""
        return replace(self, models=tuple(one for one in self.models if one[0] not in models))

    def to_dict(self) -> dict[str, list[str]]:
        """Each model with its LoRAs, the one used least recently first."""
        return {model: list(loras) for model, loras in self.models}
