"""Checks of single values of a fleet file; each error is one line that names the place, the value and what is valid."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lad_rllib.edge.task import SIZE_MULTIPLE
from lad_rllib.errors import ConfigurationError


def check_keys(where: str, values: object, valid: Collection[str], what: str = "key") -> dict[str, Any]:
    """The values as a dictionary whose keys are all valid.

    Raises:
        ConfigurationError: naming the first unknown key and the valid ones.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where} must map keys to values, got {values!r}")
    unknown = [key for key in values if key not in valid]
    if unknown:
        raise ConfigurationError(f"{where}: unknown {what} {unknown[0]!r}; valid: {', '.join(valid)}")
    return dict(values)


def choice(where: str, value: object, valid: Collection[str]) -> str:
    """One of several words."""
    if not isinstance(value, str) or value not in valid:
        raise ConfigurationError(f"{where} must be one of {', '.join(valid)}, got {value!r}")
    return value


def text(where: str, value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{where} must be a text that is not empty, got {value!r}")
    return value


def flag(where: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where} must be true or false, got {value!r}")
    return value


def whole(where: str, value: object, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{where} must be a whole number of at least {least}, got {value!r}")
    return value


def number(where: str, value: object, least: float = 0.0, above: float | None = None) -> float:
    """A finite number of at least ``least``, or greater than ``above`` if that is given."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (value < least if above is None else value <= above):  # type: ignore[operator]
        bound = f"of at least {least:g}" if above is None else f"above {above:g}"
        raise ConfigurationError(f"{where} must be a number {bound}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def amounts(where: str, value: object) -> dict[str, float]:
    """Names of resources and how much of each is needed, more than nothing."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must map names of resources to amounts, got {value!r}")
    for reserved, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if reserved in value:
            raise ConfigurationError(f"{where} must not name {reserved}; say {key} instead")
    return {text(where, name): number(f"{where}.{name}", amount, above=0) for name, amount in value.items()}


def labels(where: str, value: object) -> dict[str, str]:
    """Node labels and the value, or Ray's selector (``!x``, ``in(x, y)``), that each must have."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must map node labels to values, got {value!r}")
    for name, wanted in value.items():
        if not isinstance(wanted, str):
            raise ConfigurationError(f"{where}.{name} must be a text, got {wanted!r}; put it in quotes")
    return {text(where, name): wanted for name, wanted in value.items()}


def side(where: str, value: object) -> int:
    """Width or height of an image [pixel]."""
    length = whole(where, value, SIZE_MULTIPLE)
    if length % SIZE_MULTIPLE:
        raise ConfigurationError(f"{where} must be a multiple of {SIZE_MULTIPLE} pixels, got {length}")
    return length


def sizes(where: str, value: object, least: int) -> tuple[tuple[int, int], ...]:
    """Image sizes ``[[width, height], ...]`` [pixel], at least ``least`` of them."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < least:
        raise ConfigurationError(f"{where} must be a list of sizes [width, height], got {value!r}")
    for pair in value:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ConfigurationError(f"{where} must be a list of sizes [width, height], got {pair!r} in it")
    return tuple((side(where, width), side(where, height)) for width, height in value)
