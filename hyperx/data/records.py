"""Files of JSON lines and Parquet, record by record, with the place of each.

A record that cannot be read or used is an error that names file and line (or row), or,
on demand, left out, counted and logged. Pure Python and PyArrow.
"""

import gzip
import json
import logging
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]
T = TypeVar("T")


class MalformedRecord(ValueError):
    """A record, or a whole file, that is not as promised; names place and fault."""


def read(
    paths: Iterable[pathlib.Path | Iterable[tuple[str, Record]]],
    parse: Callable[[Record, str], T],
    *,
    columns: Sequence[str] | None = None,
    where: tuple[str, str] | None = None,
    skip_malformed: bool = False,
) -> Iterator[T]:
    """Yields what `parse` makes of every record of the files, in order.

    Args:
      paths: `*.parquet`, or else JSON lines, gzipped if they end in `.gz`; or records
        that something else reads, each after its place.
      parse: takes a record and its place; raises `MalformedRecord`.
      columns: of Parquet files, those to read; all if None.
      where: a column and a value: of Parquet files, only the rows with it are read.
      skip_malformed: leave malformed records out, logged, instead of raising.

    Raises:
      MalformedRecord: of `parse`, or a line that is no JSON object, or a file that is
        damaged or lacks a column (if not `skip_malformed`).
    """
    left_out = 0
    for path in paths:
        for place, record in _opened(path, columns, where):
            try:
                if isinstance(record, MalformedRecord):
                    raise record
                value = parse(record, place)
            except MalformedRecord as error:
                if not skip_malformed:
                    raise
                logger.warning("left out: %s", error)
                left_out += 1
                continue
            yield value
    if left_out:
        logger.warning("%d malformed records left out", left_out)


def _opened(
    path: pathlib.Path | Iterable[tuple[str, Record]],
    columns: Sequence[str] | None,
    where: tuple[str, str] | None,
) -> Iterable[tuple[str, Record | MalformedRecord]]:
    if not isinstance(path, pathlib.Path):
        return path
    return _rows(path, columns, where) if path.suffix == ".parquet" else _lines(path)


def read_object(path: pathlib.Path) -> Record:
    """The JSON object that is all of a file.

    Raises:
      MalformedRecord: it is something else.
    """
    record = _object(path.read_bytes(), str(path))
    if isinstance(record, MalformedRecord):
        raise record
    return record


def text(record: Record, key: str, place: str) -> str:
    """The string under a key.

    Raises:
      MalformedRecord: there is none.
    """
    value = _get(record, key, place)
    if not isinstance(value, str):
        raise MalformedRecord(f"{place}: {key}: expected a string, got {value!r:.80}")
    return value


def texts(record: Record, key: str, place: str) -> tuple[str, ...]:
    """The list of strings, maybe empty, under a key.

    Raises:
      MalformedRecord: there is none.
    """
    value = _get(record, key, place)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise MalformedRecord(
            f"{place}: {key}: expected a list of strings, got {value!r:.80}"
        )
    return tuple(value)


def _get(record: Record, key: str, place: str) -> Any:
    if key not in record:
        raise MalformedRecord(
            f"{place}: expected the key {key!r}, got only {sorted(record)}"
        )
    return record[key]


def _lines(path: pathlib.Path) -> Iterator[tuple[str, Record | MalformedRecord]]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", _object(line, f"{path}:{number}")
    except (EOFError, OSError, zlib.error) as error:
        # Only of gzip: a missing file is found before it is read.
        fault = f"{path}: damaged after line {number}: expected gzip, got {error}"
        yield str(path), MalformedRecord(fault)


def _object(line: bytes, place: str) -> Record | MalformedRecord:
    try:
        value = json.loads(line)
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError.
        return MalformedRecord(f"{place}: expected JSON in UTF-8, got {error}")
    if isinstance(value, dict):
        return value
    return MalformedRecord(f"{place}: expected a JSON object, got {value!r:.80}")


def _rows(
    path: pathlib.Path,
    columns: Sequence[str] | None,
    where: tuple[str, str] | None,
) -> Iterator[tuple[str, Record | MalformedRecord]]:
    wanted = [*(columns or ()), *(where or ())[:1]]
    try:
        file = parquet.ParquetFile(path)
        if not set(wanted) <= set(file.schema_arrow.names):
            fault = f"expected the columns {wanted}, got {file.schema_arrow.names}"
            yield str(path), MalformedRecord(f"{path}: {fault}")
            return
        first = 0
        for batch in file.iter_batches(columns=wanted or None):
            table = pa.Table.from_batches([batch])
            table = table.append_column("", pa.array(range(first, first + len(batch))))
            first += len(batch)
            if where:
                table = table.filter(pc.equal(table[where[0]], where[1]))
            for record in table.to_pylist():
                yield f"{path}, row {record.pop('')}", record
    except (pa.ArrowException, OSError) as error:
        yield str(path), MalformedRecord(f"{path}: expected Parquet, got {error}")
