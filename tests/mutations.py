"""Damaged copies of a document, such as a settings file: each must be refused in one line, or work."""

import copy
import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lad_rllib.errors import ConfigurationError

CASES = int(os.environ.get("LAD_RLLIB_FUZZ_CASES", "150"))
"""Damaged copies of each document that a test tries; ``make fuzz`` tries all. Such tests are in ``test_*_fuzz.py``."""
MAX_MESSAGE = 1000

BAD_VALUES = (
    *(
        None,
        True,
        False,
        "",
        "text",
        "1e-4",
        "\ud800",
        "\0",
        "~no-such-user/log.csv",
        "x" * 5000,
        b"bytes",
        datetime.date(2026, 1, 1),
    ),
    *(0, -1, 1, 2.5, 1e-320, 10**9, 10**12, 2**63, 10**400, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *([], {}, [[]], [None], [1, "text"], [1, 2, 3], [[1, 2], [3]], {"a": None}, {1: 2}, {"a": {"b": {"c": [1]}}}),
)
"""Put in place of every value: other types, empty ones, huge numbers, and what YAML has beside JSON's types."""


def mutations(document: Any, cases: int = CASES, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Copies of a document with one change each: a value replaced, a key misspelt, left out or added.

    Args:
        document: Dictionaries, lists and plain values.
        cases: How many; if there are fewer, each comes once, else a random choice of them.
        seed: Seed of the choice.

    Yields:
        What was changed, and the changed copy.
    """
    changes = list(_changes(document, ()))
    chosen = np.random.default_rng(seed).permutation(len(changes))[:cases]
    for number in sorted(chosen):
        place, what, change = changes[number]
        damaged = copy.deepcopy([document])
        parent = damaged
        for key in (0, *place[:-1]) if place else ():
            parent = parent[key]
        change(parent, place[-1] if place else 0)
        yield f"{'.'.join(map(str, place)) or 'document'}: {what}", damaged[0]


def check_refused_or_built(build: Callable[[Any], Any], document: Any, cases: int = CASES, seed: int = 0) -> None:
    """Build every damaged copy: each works or raises ``ConfigurationError`` with one line of readable length."""
    for what, damaged in mutations(document, cases, seed):
        try:
            build(damaged)
        except ConfigurationError as error:
            message = str(error)
            assert message and len(message.splitlines()) == 1 and len(message) <= MAX_MESSAGE, f"{what}: {message!r}"
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error


def as_file(path: Path, read: Callable[[Path], Any]) -> Callable[[Any], None]:
    """A ``build`` for :func:`check_refused_or_built` that writes each damaged copy to a YAML file and reads that."""

    def build(document: Any) -> None:
        path.write_text(yaml.dump(document), encoding="utf-8", errors="surrogatepass")
        read(path)

    return build


def _changes(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str, Callable[[Any, Any], None]]]:
    """Every change of a value and of what it holds: the place, words for it, and what does it to the parent."""
    for bad in BAD_VALUES:
        yield place, f"replaced by {repr(bad)[:40]}", lambda parent, key, bad=bad: _put(parent, key, bad)
    if isinstance(value, dict):
        for added in ("unknown", 7, None):
            yield place, f"key {added!r} added", lambda parent, key, added=added: _put(parent[key], added, 1)
        for key in value:
            here = (*place, key)
            yield here, "left out", lambda parent, key: parent.pop(key)
            yield here, "misspelt", lambda parent, key: _put(parent, f"{key}"[:1] + f"{key}"[2:], parent.pop(key))
            yield here, "twice as a list", lambda parent, key: _put(parent, key, [parent[key], parent[key]])
            yield from _changes(value[key], here)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            here = (*place, number)
            yield here, "left out", lambda parent, key: parent.pop(key)
            yield here, "repeated", lambda parent, key: parent.insert(key, parent[key])
            yield from _changes(one, here)


def _put(parent: Any, key: Any, value: Any) -> None:
    parent[key] = copy.deepcopy(value)
