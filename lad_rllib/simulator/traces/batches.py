"""Request log files as batches of the needed columns, within limits that are checked before memory is taken.

A file of any size is read piece by piece, so that memory holds a few megabytes of it at a time. A file may be hostile:
one that is too large is refused with one line that names the limit.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lad_rllib.errors import ConfigurationError

MAX_ROWS = 5_000_000
"""Most rows of a log; a task takes about 200 bytes of memory."""
MAX_BYTES = 8 * 2**30
"""Most bytes of a log once it is decompressed (Parquet: of the columns that are read)."""
MAX_ROW_BYTES = 4 * 2**20
"""Most bytes of a CSV row."""
MAX_CHARACTERS = 256
"""Most characters of a label, or of any other value that is stored as text."""
ROWS_OF_BATCH = 65_536
_TEXT_BYTES = 4 * MAX_CHARACTERS + 8
_PAGE_BYTES = 2**20
_END = "end of log"


def read_batches(path: Path, columns: list[str]) -> Iterator[Any]:
    """Read the named columns of a log in order, as ``pyarrow.RecordBatch`` objects; CSV values are text.

    Args:
        path: ``.csv``, ``.csv.gz`` or ``.parquet``.
        columns: Columns that the log must have, each once.

    Raises:
        ConfigurationError: if the file cannot be read, lacks a column, names one twice, or is above a limit.
    """
    _check_is_log(path)
    with one_line(path):
        rows = 0
        for batch in (_parquet_batches if path.suffix == ".parquet" else _csv_batches)(path, columns):
            rows += batch.num_rows
            if rows > MAX_ROWS:
                raise ConfigurationError(f"trace file {path} has more than {MAX_ROWS:,} rows, the limit; split it")
            yield batch


def column_names(path: Path) -> list[str]:
    """Names of the columns of a log.

    Raises:
        ConfigurationError: if the file cannot be read.
    """
    _check_is_log(path)
    with one_line(path):
        if path.suffix != ".parquet":
            return _csv_header(path)
        import pyarrow.parquet as pq

        names: list[str] = pq.read_schema(path).names
        return names


def _check_is_log(path: Path) -> None:
    if not os.path.isfile(path):  # a name that no file can have raises elsewhere
        raise ConfigurationError(f"trace file {path} does not exist or is not a file")
    if path.suffix != ".parquet" and not path.name.endswith((".csv", ".csv.gz")):
        raise ConfigurationError(f"trace file {path} must end in .csv, .csv.gz or .parquet")


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into a ``ConfigurationError`` of one line that names the file."""
    import pyarrow as pa

    try:
        yield
    except (OSError, EOFError, UnicodeError, zlib.error, pa.lib.ArrowException) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if first_line.startswith("straddling object"):
            first_line = f"a row is longer than {MAX_ROW_BYTES:,} bytes, the limit"
        if first_line == "Empty CSV file":
            raise ConfigurationError(f"trace file {path} is empty; it needs a header and rows") from None
        raise ConfigurationError(f"trace file {path} cannot be read: {first_line[:300]}") from None


def is_text(kind: Any) -> bool:
    """Whether a ``pyarrow`` type holds text or bytes, or dictionaries of them."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*tests, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null))


def _check_columns(path: Path, present: list[str], columns: list[str]) -> None:
    missing = [name for name in columns if name not in present]
    if missing:
        raise ConfigurationError(f"trace file {path} lacks the column {', '.join(missing)}")
    for name in columns:
        if present.count(name) > 1:
            raise ConfigurationError(
                f"trace file {path} has the column {name} {present.count(name)} times; keep one of them"
            )


def _parquet_batches(path: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    _check_columns(path, schema.names, columns)
    _check_parquet_sizes(path, metadata, columns)
    # Texts stay dictionaries: a long one that many rows share is in memory once.
    texts = [name for name in columns if is_text(schema.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts, buffer_size=_PAGE_BYTES, pre_buffer=False) as file:
        yield from file.iter_batches(ROWS_OF_BATCH, columns=columns, use_threads=False)


def _check_parquet_sizes(path: Path, metadata: Any, columns: list[str]) -> None:
    """Refuse a file by its metadata, before any of its content is read."""
    if metadata.num_rows > MAX_ROWS:
        raise ConfigurationError(
            f"trace file {path} has {metadata.num_rows:,} rows, more than the limit of {MAX_ROWS:,}; split it"
        )
    total = 0
    for group in range(metadata.num_row_groups):
        chunks = (metadata.row_group(group).column(index) for index in range(metadata.num_columns))
        for chunk in (chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns):
            total += chunk.total_uncompressed_size
            if chunk.total_uncompressed_size > chunk.num_values * _TEXT_BYTES + _PAGE_BYTES:
                raise ConfigurationError(
                    f"trace file {path}, column {chunk.path_in_schema}: {chunk.num_values:,} values take "
                    f"{chunk.total_uncompressed_size:,} bytes; a value has at most {MAX_CHARACTERS} characters"
                )
    if total > MAX_BYTES:
        raise ConfigurationError(f"trace file {path} holds {total:,} bytes, more than the limit of {MAX_BYTES:,}")


def _csv_batches(path: Path, columns: list[str]) -> Iterator[Any]:
    """Rows of a CSV file. The header is read first, so that only the named columns are converted."""
    import pyarrow as pa
    from pyarrow import csv

    read, parse = _csv_options()
    present = _csv_header(path)
    _check_columns(path, present, columns)
    convert = csv.ConvertOptions(
        include_columns=columns,
        column_types={name: pa.string() for name in columns},
        null_values=[""],  # NA, null and None are labels like others
        strings_can_be_null=True,
    )
    last_row = ("\n" + ",".join([_END] * len(present)) + "\n").encode()
    with _open_csv(path) as file:
        yield from _without_end(path, csv.open_csv(_Counted(path, file, last_row), read, parse, convert))


def _csv_options() -> tuple[Any, Any]:
    from pyarrow import csv

    return csv.ReadOptions(use_threads=False, block_size=MAX_ROW_BYTES), csv.ParseOptions(newlines_in_values=True)


def _csv_header(path: Path) -> list[str]:
    from pyarrow import csv

    with _open_csv(path) as file:
        names: list[str] = csv.open_csv(_Counted(path, file), *_csv_options()).schema.names
    return names


def _without_end(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    """All rows but the last, which must be the added one: an open quotation mark would have swallowed it."""
    held = None
    for batch in batches:
        if held is not None:
            yield held
        held = batch if batch.num_rows else held
    if held is None or held.column(0)[-1].as_py() != _END:
        raise ConfigurationError(f"trace file {path} cannot be read: a quotation mark is opened and never closed")
    yield held.slice(0, held.num_rows - 1)


def _open_csv(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


class _Counted:
    """A file that is read up to the limit, with a row added at its end.

    Args:
        path: Its name in errors.
        file: The file.
        last_row: The row to add.
    """

    closed = False

    def __init__(self, path: Path, file: BinaryIO, last_row: bytes = b"") -> None:
        self._path, self._file, self._last_row, self._bytes = path, file, last_row, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``, as ``pyarrow`` asks for them."""
        data = self._file.read(MAX_ROW_BYTES if size < 0 else size)
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise ConfigurationError(f"trace file {self._path} holds more than {MAX_BYTES:,} bytes, the limit")
        if not data:
            data, self._last_row = self._last_row[:size], self._last_row[size:]
        return data

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Left to the code that opened the file."""
