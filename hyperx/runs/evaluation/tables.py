"""Tables and sections of a report, and what stands in their cells."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

NONE = "-"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first columns are text, the others numbers.

    Attributes:
        headers: of the columns.
        rows: cells.
        texts: how many columns are text.
        bold: cells that stand out, as row and column.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: of it.
        content: paragraphs and tables, in order.
    """

    title: str
    content: Sequence[str | Table]


def words(name: str) -> str:
    return name.replace("_", " ")


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def cell(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def cells(several: Iterable[Mapping[str, float]], name: str) -> list[str]:
    """What each of several has under a name."""
    return [cell(values.get(name)) for values in several]


def known(values: Iterable[float | None]) -> list[float]:
    """Those that are numbers."""
    return [value for value in values if value is not None and not math.isnan(value)]


def names(several: Iterable[Mapping[str, float]]) -> list[str]:
    """Names that any of several has, in order."""
    return list(dict.fromkeys(name for values in several for name in values))


def once(rows: Sequence[list[str]]) -> list[list[str]]:
    """The same with the first cell left empty where it repeats the one above."""
    firsts = [row[0] for row in rows]
    return [
        ["" if number and first == firsts[number - 1] else first, *row[1:]]
        for number, (first, row) in enumerate(zip(firsts, rows, strict=True))
    ]
