"""Rows of results that are on disk as soon as they are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError


class ResultRows:
    """A CSV file that grows row by row; a resumed run keeps the rows of before.

    Args:
        path: The file.
        resume: Keep the rows that are there.
        same: Columns that every row has, and that those of before must have, too.

    Raises:
        ConfigurationError: if the rows of before cannot be read, or are of something else.
    """

    def __init__(self, path: Path, resume: bool, **same: Any) -> None:
        self.path, self._same = path, same
        before = _read(path) if resume and path.exists() and path.stat().st_size else pd.DataFrame()
        for column, value in same.items():
            if len(before) and (column not in before or set(before[column].astype(str)) != {str(value)}):
                found = ", ".join(sorted(set(before[column].astype(str)))) if column in before else "none"
                raise ConfigurationError(
                    f"{path} has rows of {column} {found}, not {value}; leave --resume out or give another --output"
                )
        self._rows: list[dict[str, Any]] = before.to_dict("records")

    def has(self, **key: Any) -> bool:
        """Whether there is a row with these values."""
        return any(all(row.get(column) == value for column, value in key.items()) for row in self._rows)

    def add(self, *rows: dict[str, Any]) -> None:
        """Add rows and write the file."""
        self._rows += [self._same | row for row in rows]
        self._write()

    def drop(self, **key: Any) -> None:
        """Remove the rows with these values, as they are incomplete."""
        self._rows = [row for row in self._rows if any(row.get(column) != value for column, value in key.items())]
        self._write()

    def _write(self) -> None:
        durable.write_file(self.path, self.frame.to_csv(index=False))

    @property
    def frame(self) -> pd.DataFrame:
        """All rows."""
        return pd.DataFrame(self._rows)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is damaged: {' '.join(str(error).split())}; leave --resume out or give another --output"
        ) from None
