"""A perfect follower of toyworld's conditions: what a model could answer at best."""

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np

from hyperx.data.toyworld import world as toyworld


def parse(instruction: str) -> tuple[toyworld.Operation, ...]:
    """The operations that an instruction tells.

    Raises:
      ValueError: the text is not an instruction of this world.
    """
    for chain in toyworld.CHAINS:
        if match := _pattern(chain, "(.+)").fullmatch(instruction):
            return tuple(_parse_step(match[name]) for name in "xy")
    return (_parse_step(instruction),)


def _parse_step(text: str) -> toyworld.Operation:
    for kind, templates in toyworld.TEMPLATES.items():
        for template in templates:
            if match := _pattern(template, "([a-z])").fullmatch(text):
                return toyworld.Operation(
                    kind, tuple(v for _, v in sorted(match.groupdict().items()))
                )
    raise ValueError(f"expected an instruction of toyworld, got {text!r}")


@functools.cache
def _pattern(template: str, argument: str) -> re.Pattern:
    return re.compile(re.sub(r"\{(\w)\}", rf"(?P<\1>{argument})", template))


def follow(instruction: str, inputs: str) -> str:
    """What a perfect follower of `instruction` answers; all three are spaced text."""
    return toyworld.spell(toyworld.apply(parse(instruction), inputs.replace(" ", "")))


def follower(rows: Sequence[toyworld.Row]) -> Callable[[str, str], str]:
    """Like `follow`, for any world: understands the conditions that occur in `rows`."""
    tasks = {row.task.condition: row.task for row in rows}
    return lambda condition, inputs: toyworld.spell(
        tasks[condition].apply(inputs.replace(" ", ""))
    )


def oracle_floor(rows: Sequence[toyworld.Row], conditions: Sequence[str]) -> float:
    """Exact match, in percent, of a perfect follower of the wrong conditions.

    A model that truly reads its condition cannot do better under a shuffled control.

    Args:
      rows: the rows asked.
      conditions: for every row the condition to obey; one of the rows' conditions.
    """
    obey = follower(rows)
    right = [
        obey(condition, toyworld.spell(row.word)) == toyworld.spell(row.result)
        for condition, row in zip(conditions, rows, strict=True)
    ]
    return 100 * float(np.mean(right))
