"""Tables on a terminal and in Markdown, and the same rows as JSON for other programs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lad_rllib import durable
from lad_rllib.runs.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"nan|[-–+\d.,%/e]*")
MIN_TEXT_WIDTH = 7
"""Width of columns whose text may be broken into lines, at least."""


def write_parquet(table: pd.DataFrame, csv: Path) -> None:
    """Write a table beside its CSV file, under the same name with the ending ``.parquet``."""
    durable.write_file(csv.with_suffix(".parquet"), table.to_parquet(index=False))


def over_first(rows: pd.DataFrame, key: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Rows with columns ``over_`` and the measure: each over that of the first row of the same key."""
    first = rows.groupby([*key], sort=False)[[*measures]].transform("first")
    return rows.assign(**{f"over_{name}": rows[name] / first[name] for name in measures})


def print_table(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows as a table on standard output, as wide as the terminal, or wider if columns of single words need it.

    Args:
        title: Above the table.
        rows: Cell by column title, at least one row; the first column names the row and is never broken. Text is
            shown as it is; numbers are aligned to the right.
    """
    table = Table(title=title)
    width = 1
    for index, column in enumerate(rows[0]):
        cells = [row[column] for row in rows]
        is_number = all(map(_NUMBER.fullmatch, cells))
        is_text = index > 0 and any(" " in text for text in (column, *cells))
        table.add_column(column, justify="right" if is_number else "left", no_wrap=not is_text, overflow="fold")
        width += 3 + (MIN_TEXT_WIDTH if is_text else max(map(cell_len, (column, *cells))))
    for row in rows:
        table.add_row(*row.values())
    console = Console(markup=False, highlight=False, emoji=False)
    console.width = max(console.width, width)
    console.print(table)


def print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a list of objects, for other programs."""
    json.dump(list(rows), sys.stdout, indent=2, ensure_ascii=False)
    print()


def json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table in Python's own types; None where there is no number."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def mean_sd(mean: float, digits: int, sd: float = math.nan) -> str:
    """``mean ± sd``; the mean alone without a spread, nothing where there is no number.

    >>> mean_sd(1.25, 1, 0.5), mean_sd(1.25, 1), mean_sd(math.nan, 1, 0.5), mean_sd(1.25, 1, 0.01)
    ('1.2 ± 0.5', '1.2', '', '1.2')
    """
    if math.isnan(mean):
        return ""
    spread = "" if math.isnan(sd) else f"{sd:.{digits}f}"
    return f"{mean:.{digits}f}" + (f" ± {spread}" if spread.strip("0.") else "")


def interval(low: float, high: float) -> str:
    """The ends of an interval of ratios; nothing where there is none.

    >>> interval(0.95, 1.0), interval(math.nan, math.nan)
    ('0.950 to 1.000', '')
    """
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def cell(row: Mapping[str, Any], name: str, digits: int | None = None) -> str:
    """A value of a row as text; of a number its mean and its spread, see :func:`mean_sd`.

    Args:
        row: Values by name; the spread of ``NAME`` or ``NAME_s`` is ``NAME_sd``, ``NAME_s_sd`` or ``NAME_sd_s``.
        name: Which value.
        digits: Digits after the point; None: three for ratios, else two.
    """
    if not isinstance(value := row[name], float):
        return str(value)
    sd = next((row[key] for key in (f"{name}_sd", f"{name.removesuffix('_s')}_sd_s") if key in row), math.nan)
    return mean_sd(value, (3 if "over" in name or name == "fairness" else 2) if digits is None else digits, sd)


def summary_table(table: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Some columns of a table in Markdown, under titles of their own; see :func:`cell`."""
    rows = table.to_dict("records")
    return markdown_table(list(columns.values()), [[cell(row, name) for name in columns] for row in rows])


def summary_sections(
    table: pd.DataFrame, by: Sequence[str], heading: Callable[..., str], columns: Mapping[str, str]
) -> list[str]:
    """A section with a :func:`summary_table` for each combination of ``by``, whose values ``heading`` takes."""
    groups = table.groupby([*by], sort=False)
    return [f"## {heading(*key)}\n\n{summary_table(rows, columns)}" for key, rows in groups]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    head, *lines = (f"| {' | '.join(map(str, cells))} |" for cells in (header, *rows))
    return "\n".join([head, "|" + "---|" * len(header), *lines])


def markdown_page(title: str, *parts: str) -> str:
    """Title, paragraphs and tables in Markdown, and what is needed to make the results again."""
    return "\n\n".join([f"# {title}", *filter(None, parts), provenance()]) + "\n"


def put_page(file: Path, page: str) -> None:
    """Write a page, and print it."""
    durable.write_file(file, page)
    print(page)
