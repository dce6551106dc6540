"""P3: rows of its files to examples, strictly. Pure Python and PyArrow."""

import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hyperx.data import ranking, records

logger = logging.getLogger(__name__)

File = pathlib.Path | Iterable[tuple[str, records.Record]]

NO_LABEL = "<NO LABEL>"  # The target of an example whose answer is secret.

_INPUTS, _TARGETS = "inputs_pretokenized", "targets_pretokenized"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A rendered prompt. Choices, and the number of the right one, if it is ranked."""

    id: str  # the number of the example in its split
    inputs: str
    targets: str  # stripped
    choices: tuple[str, ...] = ()
    answer: int | None = None


def plain(paths: Sequence[File], skip_malformed: bool) -> Iterator[Example]:
    """The examples of a split in its order, those without an answer, too.

    Raises:
      records.MalformedRecord: a row or a file is (if not `skip_malformed`).
    """
    numbers = itertools.count()

    def parse(record: records.Record, place: str) -> Example:
        number = next(numbers)  # Of malformed rows, too.
        example = Example(
            id=str(number),
            inputs=records.text(record, _INPUTS, place),
            targets=records.text(record, _TARGETS, place).strip(),
        )
        if not example.inputs.strip() or not example.targets:
            raise records.MalformedRecord(
                f"{place}: expected an input and a target, got {example.inputs!r:.80} "
                f"and {example.targets!r}"
            )
        return example

    columns = (_INPUTS, _TARGETS)
    return records.read(paths, parse, columns=columns, skip_malformed=skip_malformed)


class _Choice(NamedTuple):
    """A row of a `_score_eval` and its place."""

    example: int
    number: int
    inputs: str
    target: str
    is_correct: bool
    place: str


def ranked(paths: Sequence[File], skip_malformed: bool) -> Iterator[Example]:
    """The examples of a split of a `_score_eval`, each of one row for each choice.

    Raises:
      records.MalformedRecord: a file is damaged, or, if not `skip_malformed`, the rows
        of an example are not what they should be.
    """
    columns = ("idx", _INPUTS, _TARGETS, "is_correct")
    rows = records.read(paths, _choice, columns=columns)
    seen, left_out = set(), 0
    for number, group in itertools.groupby(rows, key=lambda row: row.example):
        choices = list(group)
        try:
            if number in seen:
                raise records.MalformedRecord(
                    f"{choices[0].place}: expected all choices of example {number} "
                    "together, got it again"
                )
            seen.add(number)
            yield _regrouped(choices)
        except records.MalformedRecord as error:
            if not skip_malformed:
                raise
            logger.warning("left out: %s", error)
            left_out += 1
    if left_out:
        logger.warning("%d malformed examples left out", left_out)


def _choice(record: records.Record, place: str) -> _Choice:
    idx, is_correct = record["idx"], record["is_correct"]
    if not isinstance(idx, list) or len(idx) != 2 or not isinstance(is_correct, bool):
        raise records.MalformedRecord(
            f"{place}: expected idx (example, choice) and is_correct (a boolean), got "
            f"{idx!r} and {is_correct!r}"
        )
    inputs = records.text(record, _INPUTS, place)
    target = records.text(record, _TARGETS, place).strip()
    return _Choice(*idx, inputs, target, is_correct, place)


def _regrouped(rows: Sequence[_Choice]) -> Example:
    """The example whose choices the rows are, in their order."""
    place = rows[0].place
    numbers = [row.number for row in rows]
    if numbers != [*range(len(rows))]:
        raise records.MalformedRecord(
            f"{place}: expected choices 0, 1, ... of an example, got {numbers}"
        )
    if len({row.inputs for row in rows}) > 1:
        raise records.MalformedRecord(
            f"{place}: expected one input for all choices, got several"
        )
    choices = tuple(row.target for row in rows)
    right = {row.target for row in rows if row.is_correct}
    if len(right) != 1:
        raise records.MalformedRecord(
            f"{place}: expected one right choice among {choices}, got {sorted(right)}"
        )
    target = right.pop()
    example = Example(
        id=str(rows[0].example),
        inputs=rows[0].inputs,
        targets=target,
        choices=choices,
        answer=choices.index(target),
    )
    ranking.check({"choices": choices, "answer": example.answer}, place)
    return example
