"""Controls of a conditioned model: what it scores with a wrong or no condition.

`matched` is the ordinary case. Under `shuffled` every distinct condition of a task is
replaced by the next distinct one of it, the same for all its rows, and the only one of
a task by the first of another task; under `empty` the model reads no more than an end
of sequence. A model that scores alike under all three ignores what it is told.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

CONTROLS = ("matched", "shuffled", "empty")

# What a model reads, [I] int32, and the same as text.
Condition = tuple[np.ndarray, str]


def check(control: str, reads: str) -> None:
    """Raises a ValueError if there is no such control for a model that reads so."""
    if control not in CONTROLS:
        raise ValueError(f"expected a control of {CONTROLS}, got {control!r}")
    if control not in possible(reads):
        raise ValueError(
            f"expected a control of {possible(reads)} for a model with {reads=}, got "
            f"{control!r}"
        )


def possible(reads: str) -> tuple[str, ...]:
    """The controls that a model has: of its condition, where that is read apart.

    There is no task without a name, so a model that reads tasks is never shown none.
    """
    return {"condition": CONTROLS, "task": CONTROLS[:2]}.get(reads, CONTROLS[:1])


class Conditions:
    """The conditions of a task.

    Args:
      tokens: the condition of each row, [N, I] int32.
      texts: the same as N texts.
      eos_id: what an empty condition consists of; None if there is none.
      others: gives conditions of other tasks; asked only if the task has but one.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        texts: Sequence[str],
        eos_id: int | None,
        others: Callable[[], Iterable[Condition]] = tuple,
    ):
        numbers: dict[bytes, int] = {}
        self._distinct: list[Condition] = []
        of_row = []
        for row, text in zip(tokens, texts, strict=True):
            number = numbers.setdefault(row.tobytes(), len(numbers))
            if number == len(self._distinct):
                self._distinct.append((row, text))
            of_row.append(number)
        self._of_row = np.array(of_row)
        self._eos_id = eos_id
        self._others = others

    @property
    def count(self) -> int:
        """Distinct conditions."""
        return len(self._distinct)

    @functools.cached_property
    def shuffled(self) -> list[Condition]:
        """What stands in for each distinct condition; empty if there is nothing."""
        if len(self._distinct) > 1:
            return [*self._distinct[1:], self._distinct[0]]
        own, _ = self._distinct[0]
        others = (other for other in self._others() if (other[0] != own).any())
        return list(itertools.islice(others, 1))

    def shown(self, control: str) -> tuple[np.ndarray, list[str]]:
        """What the rows show the model.

        Returns:
          Tokens [N, I] int32, and the same as N texts.

        Raises:
          ValueError: there is no other condition to shuffle with.
        """
        if control == "empty":
            tokens = np.zeros((len(self._of_row), len(self._distinct[0][0])), np.int32)
            tokens[:, 0] = self._eos_id
            return tokens, [""] * len(tokens)
        table = self.shuffled if control == "shuffled" else self._distinct
        if not table:
            raise ValueError(
                "control='shuffled' expected two or more distinct conditions, got "
                f"only {self._distinct[0][1]!r}"
            )
        shown = [table[number] for number in self._of_row]
        return np.stack([tokens for tokens, _ in shown]), [text for _, text in shown]
