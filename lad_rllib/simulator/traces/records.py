"""Request logs that are no tables: JSON (a list of objects, or one object in each line) and ``Request(...)`` lines.

Everything becomes text, as in a CSV file, so that the columns are read by the same rules.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError

RECORD_SUFFIXES = (".json", ".jsonl", ".txt")
MAX_RECORD_BYTES = 2**30
"""Most bytes of such a log, which is read at once."""


def read_records(path: Path) -> Any:
    """The log as one ``pyarrow.RecordBatch`` of text columns; a list of texts becomes one text, joined by ``+``.

    Raises:
        ConfigurationError: if the file cannot be read, is above the limit, or holds anything but flat objects.
    """
    import pyarrow as pa

    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ConfigurationError(f"trace file {path} has more than {MAX_RECORD_BYTES:,} bytes, the limit")
        records = list(_records(path, path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"trace file {path} cannot be read: {' '.join(str(error).split())[:300]}") from None
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        raise ConfigurationError(f"trace file {path} holds no requests")
    columns = {name: [_text(record.get(name)) for record in records] for name in names}
    return pa.RecordBatch.from_pydict({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _records(path: Path, text: str) -> Iterator[dict[str, Any]]:
    if path.suffix == ".json":
        found: Any = json.loads(text)
    elif path.suffix == ".jsonl":
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        found = [_of_call(line.strip(), path) for line in text.splitlines() if line.strip()]
    for record in found if isinstance(found, list) else [found]:
        if not isinstance(record, dict):
            raise ConfigurationError(f"trace file {path} must hold objects, found {shown(record)}")
        yield record


def _of_call(line: str, path: Path) -> dict[str, Any]:
    """Keywords of a line such as ``Request(width=512, height=512)``; nothing in it is run."""
    try:
        call = ast.parse(line, mode="eval").body
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Request":
            return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except (SyntaxError, ValueError, MemoryError):
        pass
    raise ConfigurationError(f"trace file {path} must hold lines as Request(width=512, ...), found {shown(line)}")


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return "+".join(sorted(map(str, value))) or None
    return None if value is None else str(value)
