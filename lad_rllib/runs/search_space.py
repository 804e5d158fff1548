"""Search spaces: from a file that people write to the domains of Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from lad_rllib import names
from lad_rllib.declared import Declared, check_some, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.text_files import read_structured

_Number = Annotated[float, Field(ge=-1e300, le=1e300)]
_Positive = Annotated[float, Field(gt=0, le=1e300)]
_Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]

MUTABLE = (
    "actor_lr",
    "critic_lr",
    "alpha_lr",
    "gamma",
    "tau",
    "updates_per_slot",
    "train_batch_size_per_learner",
    "step_size",
    "last_step_size",
    "momentum",
)
"""Hyperparameters that may change in the middle of a run, as population based training wants: a checkpoint's networks,
temperatures and memory stay valid."""


class _Range(Declared):
    """What a hyperparameter may be: one of these.

    Attributes:
        uniform: Lowest and highest number, drawn evenly.
        loguniform: Lowest and highest number above 0, drawn evenly by their logarithms.
        randint: Lowest and highest whole number, both included.
        choice: The values.
    """

    uniform: Annotated[list[_Number], Field(min_length=2, max_length=2)] | None = None
    loguniform: Annotated[list[_Positive], Field(min_length=2, max_length=2)] | None = None
    randint: Annotated[list[_Whole], Field(min_length=2, max_length=2)] | None = None
    choice: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> _Range:
        kinds = [kind for kind, values in self if values is not None]
        if len(kinds) != 1:
            raise ValueError(
                "must be one of {uniform: [low, high]}, {loguniform: …}, {randint: …} and {choice: [a, b]}"
            )
        low, high = getattr(self, kinds[0])[0], getattr(self, kinds[0])[-1]
        if kinds[0] != "choice" and low >= high:
            raise ValueError(f"must be a range {kinds[0]}: [low, high] with low below high, got [{low:g}, {high:g}]")
        return self


@dataclass(frozen=True)
class SearchSpace:
    """What is searched.

    Attributes:
        ranges: Hyperparameter of the algorithm, and kind and values of what it may be.
        fixed: Hyperparameters that are the same in every trial.
    """

    ranges: dict[str, tuple[str, tuple[Any, ...]]]
    fixed: dict[str, Any]

    def only(self, names: Sequence[str] | None) -> SearchSpace:
        """Search some hyperparameters only; the others keep the algorithm's defaults.

        Raises:
            ConfigurationError: for one that the space does not have.
        """
        if names is None:
            return self
        if unknown := [name for name in names if name not in self.ranges]:
            raise ConfigurationError(
                f"the search space has no {', '.join(unknown)}; it has {', '.join(self.ranges)} (see --space)"
            )
        return SearchSpace({name: self.ranges[name] for name in names}, self.fixed)

    def without(self, names: Collection[str]) -> SearchSpace:
        """Leave some hyperparameters alone.

        Raises:
            ConfigurationError: if nothing is left to search.
        """
        ranges = {name: value for name, value in self.ranges.items() if name not in names}
        if not ranges:
            raise ConfigurationError("every hyperparameter of the search space has a fixed value; nothing to search")
        return SearchSpace(ranges, self.fixed)

    def check(self, hyperparameters: type[Declared]) -> None:
        """Refuse names and values that an algorithm cannot have.

        Args:
            hyperparameters: What the algorithm declares.

        Raises:
            ConfigurationError: for the first that does not fit.
        """
        given = [(name, value) for name, (_, values) in self.ranges.items() for value in values]
        for name, value in (*given, *self.fixed.items()):
            check_some(hyperparameters, {name: value}, "search space: ")

    def domains(self) -> dict[str, Any]:
        """Ray Tune's domains, and the fixed values."""
        return dict(self.fixed) | {name: _domain(kind, values) for name, (kind, values) in self.ranges.items()}

    def grid(self, points: int) -> dict[str, Any]:
        """Ray Tune's grid: every choice, and so many points of every range, its ends among them."""
        from ray import tune

        return dict(self.fixed) | {
            name: tune.grid_search(_points(kind, values, points)) for name, (kind, values) in self.ranges.items()
        }

    def grid_size(self, points: int) -> int:
        """Number of points of :meth:`grid`."""
        return math.prod(len(_points(kind, values, points)) for kind, values in self.ranges.values())

    def mutations(self) -> dict[str, Any]:
        """Domains of what population based training may change on the way.

        Raises:
            ConfigurationError: if nothing in the space may be changed.
        """
        mutable = {name: _domain(*self.ranges[name]) for name in self.ranges if name in MUTABLE}
        if not mutable:
            raise ConfigurationError(
                f"population based training changes {', '.join(MUTABLE)} on the way; the search space has none of them"
            )
        return mutable


def read_space(path: str | Path | None = None, algorithm: str = names.DEFAULT_ALGORITHM) -> SearchSpace:
    """Read a search space.

    Args:
        path: YAML or JSON file, see ``lad_rllib/data/search_space.yaml``; None: that one, or the
            algorithm's own beside it, such as ``search_space_lad-pmd.yaml``.
        algorithm: What is tuned.

    Raises:
        ConfigurationError: if it cannot be read, or a range is none.
    """
    data = Path(str(resources.files("lad_rllib").joinpath("data")))
    own = data / f"search_space_{algorithm}.yaml"
    file = Path(path) if path is not None else own if own.is_file() else data / "search_space.yaml"
    content = read_structured(file, "search space")
    where = f"search space {file}: "
    if not isinstance(content, Mapping) or not content:
        raise ConfigurationError(f"{where}must map names of hyperparameters to ranges, got {shown(content)}")
    ranges: dict[str, tuple[str, tuple[Any, ...]]] = {}
    fixed: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"{where}a hyperparameter has a name that is no text, {shown(name)}")
        if isinstance(value, Mapping):
            given = declared(_Range, value, f"{where}{name}.")
            ranges[name] = next((kind, tuple(values)) for kind, values in given if values is not None)
        else:
            fixed[name] = value
    if not ranges:
        raise ConfigurationError(f"{where}no range; write one as 'actor_lr: {{loguniform: [low, high]}}'")
    return SearchSpace(ranges, fixed)


def _domain(kind: str, values: tuple[Any, ...]) -> Any:
    from ray import tune

    if kind == "choice":
        return tune.choice(list(values))
    if kind == "randint":
        return tune.randint(values[0], values[1] + 1)
    return getattr(tune, kind)(*values)


def _points(kind: str, values: tuple[Any, ...], points: int) -> list[Any]:
    if kind == "choice":
        return list(values)
    low, high = values
    if kind == "randint":
        return sorted({round(point) for point in np.linspace(low, high, points)})
    if kind == "loguniform":
        return [float(f"{math.exp(x):.6g}") for x in np.linspace(math.log(low), math.log(high), points)]
    return [float(point) for point in np.linspace(low, high, points)]
