"""YAML and JSON files that people write, read with limits: nothing in them can run code, hang or exhaust memory."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

MAX_PATH = 300
"""Characters of a path that an error shows whole."""

MAX_BYTES = 4_000_000
MAX_VALUES = 200_000
"""Values of a file once its aliases are written out."""
MAX_DEPTH = 100
"""Groups and lists within one another."""


class _Loader(yaml.SafeLoader):
    """YAML's safe types; numbers as in YAML 1.2 (``1e-4`` is one), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice (line {line})")
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def read_text(path: str | Path, what: str = "file") -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        ConfigurationError: in one line, if it is missing, not a regular file, too large, or not UTF-8.
    """
    file = Path(os.path.expanduser(path))
    try:
        problem = _obstacle(file)
        text = "" if problem else file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 at byte {error.start}; save it as UTF-8"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if not problem and "\0" in text:
        problem = "it holds NUL bytes, so it is not text"
    if problem:
        name = str(path) if len(str(path)) <= MAX_PATH and str(path).isprintable() else shown(str(path))
        raise ConfigurationError(f"cannot read {what} {name}: {problem}")
    return text


def _obstacle(file: Path) -> str:
    """Why a file must not be opened; empty if it may."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        return f"it is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a regular file'}; name a file"
    if status.st_size > MAX_BYTES:
        return f"it has {status.st_size:,} bytes, at most {MAX_BYTES:,} are read"
    return ""


def read_structured(path: str | Path, what: str = "file") -> Any:
    """What a YAML file, or a JSON file by its suffix ``.json``, holds.

    Raises:
        ConfigurationError: in one line that names the file and the place, never its content.
    """
    text = read_text(path, what)
    try:
        is_json = Path(path).suffix == ".json"
        content = json.loads(text, object_pairs_hook=_without_repetition) if is_json else _load_yaml(text)
        _check_depth(content, MAX_DEPTH)
        return content
    except RecursionError:
        raise ConfigurationError(f"cannot read {what} {path}: it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {_place(error)}") from None
    except ValueError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {' '.join(str(error).split())}") from None


def _load_yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _written_out(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node once aliases are written out; more than the limit, or a node within itself, raise."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.constructor.ConstructorError(None, None, "a value holds itself", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_written_out(one, known) for one in node.value)
    elif isinstance(node, yaml.MappingNode):
        total += sum(_written_out(key, known) + _written_out(value, known) for key, value in node.value)
    if total > MAX_VALUES:
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases expand to more than {MAX_VALUES:,} values", node.start_mark
        )
    known[id(node)] = total
    return total


def _check_depth(value: Any, left: int) -> None:
    """Refuse nesting so deep that code which walks through the value might exhaust Python's stack."""
    if isinstance(value, (dict, list)):
        if left == 0:
            raise RecursionError
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, left - 1)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return values


def _place(error: yaml.YAMLError) -> str:
    """The problem and its place, without the lines of the file that PyYAML would quote."""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "no YAML"
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return " ".join(f"{problem}{where}".split())
