"""What each algorithm declares, by its name, and the options of the command line that follow; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lad_rllib.algorithms.common.hyperparameters import Flag, LearningHyperparameters
from lad_rllib.algorithms.dqn_ts.hyperparameters import DQNTSHyperparameters
from lad_rllib.algorithms.lad_dispatch.hyperparameters import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_pmd.hyperparameters import LADPMDHyperparameters
from lad_rllib.algorithms.lad_ts.hyperparameters import LADTSHyperparameters
from lad_rllib.algorithms.soft_actor_critic.hyperparameters import (
    DiffusionCriticHyperparameters,
    SoftActorCriticHyperparameters,
)
from lad_rllib.reference import FieldReference, fields_of, json_schema

HYPERPARAMETERS: dict[str, type[LearningHyperparameters]] = {
    "lad-ts": LADTSHyperparameters,
    "lad-pmd": LADPMDHyperparameters,
    "lad-dispatch": LADDispatchHyperparameters,
    "d2sac-ts": DiffusionCriticHyperparameters,
    "sac-ts": SoftActorCriticHyperparameters,
    "dqn-ts": DQNTSHyperparameters,
}
"""The declaration of each algorithm of this package."""


def training_schema(algorithm: str) -> dict[str, Any]:
    """JSON schema of a file for ``--config``, for editors.

    Args:
        algorithm: The algorithm's name, such as ``"lad-pmd"``.
    """
    return json_schema(HYPERPARAMETERS[algorithm])


@dataclass(frozen=True)
class HyperparameterFlag:
    """A hyperparameter that is an option of the command line, of all algorithms that have it.

    Attributes:
        field: Its declaration, that of the first algorithm that has it.
        flag: Its mark.
        defaults: Default of each algorithm that has it.
    """

    field: FieldReference
    flag: Flag
    defaults: dict[str, Any]

    @property
    def help(self) -> str:
        """Its meaning, the algorithms that have it unless all have, and their defaults."""
        algorithms: dict[Any, list[str]] = {}
        for algorithm, default in self.defaults.items():
            algorithms.setdefault(default, []).append(algorithm)
        parts = []
        for default, names in algorithms.items():
            who = "" if len(names) == len(HYPERPARAMETERS) else ", ".join(names)
            value = "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
            parts.append(": ".join(filter(None, (who, value))))
        told = "; ".join(filter(None, parts))
        return self.field.help.removesuffix(".") + (f" ({told})" if told else "")

    @property
    def type(self) -> Any:
        """Type of the option's value; the algorithm's own declaration checks its bounds."""
        if self.flag.read is not None:
            return str
        return Literal[self.field.choices] if self.field.choices else self.field.type


def _flags() -> dict[str, HyperparameterFlag]:
    found: dict[str, HyperparameterFlag] = {}
    fields = [(algorithm, one) for algorithm, group in HYPERPARAMETERS.items() for one in fields_of(group)]
    for algorithm, one in fields:
        marks = HYPERPARAMETERS[algorithm].model_fields[one.name].metadata
        for flag in (mark for mark in marks if isinstance(mark, Flag)):
            defaults = {name: other.default for name, other in fields if other.name == one.name}
            found.setdefault(one.name, HyperparameterFlag(one, flag, defaults))
    return found


FLAGS = _flags()
"""The options by name, in the order of declaration."""
