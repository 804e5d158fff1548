"""Columns of a request log as arrays, by meaning and from any type that they may be stored as.

| meaning | stored as |
|---|---|
| label | text, also as bytes (UTF-8); whole numbers, also as floats; decimals, dates, truth values |
| number | whole numbers, floats, decimals, text; an execution time also as a duration of any unit |
| time | timestamps of any unit, with or without a zone (UTC if none), dates, ISO 8601 text |

Anything else is refused in one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.traces.batches import MAX_CHARACTERS, is_text

NO_NUMBER = ("", "na", "n/a", "nan", "null", "none", "\\n")
"""Texts that stand for a missing number or time, in small letters."""
_MAX_EXACT_FLOAT = 2.0**53
_FIRST_US, _LAST_US = 0, 7_258_118_400_000_000
"""Times of a log lie from 1970 to 2199 [µs since 1970]."""
_UNITS_PER_S = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Labels:
    """A column of K labels.

    Attributes:
        index: Which of ``names`` each is, -1 where it is missing, shape (K,).
        names: Distinct labels.
    """

    index: NDArray[np.int64]
    names: list[str]


def labels(column: Any, where: str) -> Labels:
    """Labels as text; an identifier keeps its digits, whatever else the column holds.

    Raises:
        ConfigurationError: for values that cannot be labels, are too long, or can no longer be told apart.
    """
    index, texts = _texts(column, where)
    kept = np.array([bool(text) for text in texts], dtype=bool)
    position = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)  # the last one: of index -1
    return Labels(position[index], [text for text in texts if text])


def numbers(column: Any, where: str, *, is_time_span: bool = False) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers and where they are missing, shapes (K,); NaN where there is none.

    Args:
        column: The column.
        where: File and column, for errors.
        is_time_span: Durations are numbers, too [s].
    """
    import pandas as pd
    import pyarrow as pa

    kind = column.type
    if pa.types.is_duration(kind) and is_time_span:
        values = _floats(column.cast(pa.int64())) / _UNITS_PER_S[kind.unit]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = _floats(column.cast(pa.float64(), safe=False))
    elif is_text(kind):
        index, texts = _texts(column, where)
        is_missing = np.array([text.strip().lower() in NO_NUMBER for text in texts] + [True])
        parsed = pd.to_numeric(pd.Series([*texts, ""], dtype=object), errors="coerce").to_numpy(float)
        return parsed[index], is_missing[index]
    else:
        raise ConfigurationError(f"{where} is stored as {kind}; it needs numbers")
    return values, np.isnan(values)


def times(column: Any, where: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Times since 1970 [µs], where there is one (of 1970 to 2199), and where it is missing, shapes (K,)."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        to_us = pc.CastOptions(pa.timestamp("us", getattr(kind, "tz", None)), allow_time_truncate=True)
        time_us = column.cast(options=to_us).cast(pa.int64()).fill_null(0).to_numpy()
        is_missing = column.is_null().to_numpy(zero_copy_only=False)
        return time_us, ~is_missing & _is_of_a_log(time_us), is_missing
    if not is_text(kind):
        raise ConfigurationError(f"{where} is stored as {kind}; it needs timestamps or ISO 8601 text")
    index, texts = _texts(column, where)
    is_missing = np.array([text.strip().lower() in NO_NUMBER for text in texts] + [True])
    dated = [text if text[:1].isdigit() else None for text in texts] + [None]  # "now" is not a time of a log
    parsed = pd.to_datetime(pd.Series(dated, dtype=object), utc=True, errors="coerce", format="ISO8601")
    time_us = parsed.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    is_there = parsed.notna().to_numpy(bool) & _is_of_a_log(time_us)
    return time_us[index], is_there[index], is_missing[index]


def _is_of_a_log(time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (time_us >= _FIRST_US) & (time_us < _LAST_US)


def _floats(column: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _texts(column: Any, where: str) -> tuple[NDArray[np.int64], list[str]]:
    """Which of the distinct texts each value is (-1: none), and these texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(column.type) or pa.types.is_duration(column.type):
        raise ConfigurationError(f"{where} is stored as {column.type}; it needs text or whole numbers")
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary
    if pa.types.is_floating(values.type):
        values = _whole(values.cast(pa.float64()), where)
    texts = values.cast(pa.string())
    longest = pc.max(pc.utf8_length(texts)).as_py() or 0
    if longest > MAX_CHARACTERS:
        raise ConfigurationError(
            f"{where} holds a value of {longest:,} characters, more than the limit of {MAX_CHARACTERS}"
        )
    index = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return index, [text or "" for text in texts.to_pylist()]


def _whole(values: Any, where: str) -> Any:
    """Identifiers stored as floats (as they often are in a table with a missing one), as whole numbers again."""
    import pyarrow as pa

    number = values.to_numpy(zero_copy_only=False)
    present = number[~np.isnan(number)]
    if ((present != np.floor(present)) | (np.abs(present) >= _MAX_EXACT_FLOAT)).any():
        raise ConfigurationError(
            f"{where} is stored as {values.type} with values that are not exact whole numbers, which cannot tell "
            "labels apart; store it as text"
        )
    whole = np.where(np.isnan(number), 0, number).astype(np.int64)
    return pa.array(whole, mask=np.isnan(number))
