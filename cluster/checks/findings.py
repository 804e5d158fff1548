"""A mistake in a file, and how it is found and told."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
"""The folder that has setup.cfg: commands run here, and relative paths in the files start here."""


@dataclass(frozen=True, order=True)
class Finding:
    """One line about one place in a file.

    Args:
        file: As the user named it.
        place: Where in it: keys with dots between, a line, or empty for the whole file.
        text: What is wrong there and what to do.
        is_mistake: False for what the user should know but need not change, such as checks that were left out.
    """

    file: str
    place: str
    text: str
    is_mistake: bool = True

    def __str__(self) -> str:
        """The line; notes say that they are notes."""
        parts = [self.file, self.place, self.text if self.is_mistake else f"note: {self.text}"]
        return ": ".join(filter(None, parts))


@dataclass(frozen=True)
class Document:
    """A file and what it holds.

    Args:
        name: As the user named it.
        text: All of it.
        parts: The YAML documents in it; empty if it is no YAML.
        root: Folder from which its relative paths start.
    """

    name: str
    text: str
    parts: tuple[Any, ...] = ()
    root: Path = field(default=ROOT)

    def mistake(self, place: str, text: str) -> Finding:
        """A mistake in this file."""
        return Finding(self.name, place, one_line(text))

    def note(self, place: str, text: str) -> Finding:
        """Something about this file that need not be changed."""
        return Finding(self.name, place, one_line(text), is_mistake=False)


class UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader that refuses a key which comes twice; PyYAML would silently take the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, once its keys are known to differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} comes twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read(path: Path, name: str, root: Path = ROOT) -> Document:
    """Read a file.

    Args:
        path: Where it is.
        name: How findings name it.
        root: Folder from which its relative paths start.

    Raises:
        OSError: if it cannot be read.
        yaml.YAMLError: if it is called .yaml or .yml and is none.
    """
    text = path.read_text(encoding="utf-8")
    is_yaml = path.suffix in (".yaml", ".yml")
    parts = tuple(part for part in yaml.load_all(text, UniqueKeys) if part is not None) if is_yaml else ()
    return Document(name, text, parts, root)


@contextmanager
def silence() -> Iterator[io.StringIO]:
    """What Ray prints meanwhile goes into the text that this gives, not onto the terminal."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        yield printed


def one_line(text: object) -> str:
    """Any message on one line."""
    return " ".join(str(text).split())


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``; did you mean ...?`` with the nearest known word, or which there are when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(str(word), words, 1, 0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(words)}" if len(words) <= 12 else ""


def unknown_keys(values: Mapping[str, Any], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each key that is not known, with a hint at the one that was meant."""
    names = set(known)
    for key in values:
        if key not in names:
            yield str(key), did_you_mean(key, names)


def walk_strings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested lists and mappings, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk_strings(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from walk_strings(inner, f"{place}[{number}]")
