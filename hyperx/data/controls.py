"""Controls of a conditioned model: what it scores with a wrong or no condition.

`matched` is the ordinary case. Under `shuffled` every distinct condition is replaced by
the next distinct one, the same for all its rows; under `empty` the model reads no more
than an end of sequence. A model that scores alike under all three ignores what it is
told.
"""

from collections.abc import Mapping, Sequence

import numpy as np

CONTROLS = ("matched", "shuffled", "empty")


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
    """The distinct conditions of an evaluation, over all its tasks.

    Args:
      tokens: by task, the condition of each row, [N, I] int32.
      texts: by task, the same as text.
      eos_id: what an empty condition consists of; None if there is none.
    """

    def __init__(
        self,
        tokens: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[str]],
        eos_id: int | None,
    ):
        numbers: dict[bytes, int] = {}
        self._distinct: list[tuple[np.ndarray, str]] = []
        self._of_row: dict[str, np.ndarray] = {}
        for task, rows in tokens.items():
            of_row = []
            for row, text in zip(rows, texts[task], strict=True):
                number = numbers.setdefault(row.tobytes(), len(numbers))
                if number == len(self._distinct):
                    self._distinct.append((row, text))
                of_row.append(number)
            self._of_row[task] = np.array(of_row)
        self._eos_id = eos_id

    def count(self, task: str) -> int:
        """Distinct conditions of a task."""
        return len(np.unique(self._of_row[task]))

    def shown(self, task: str, control: str) -> tuple[np.ndarray, list[str]]:
        """What the rows of a task show the model.

        Returns:
          Tokens [N, I] int32, and the same as N texts.

        Raises:
          ValueError: there is no other condition to shuffle with.
        """
        own = self._of_row[task]
        if control == "empty":
            tokens = np.zeros((len(own), len(self._distinct[0][0])), np.int32)
            tokens[:, 0] = self._eos_id
            return tokens, [""] * len(own)
        if control == "shuffled":
            if len(self._distinct) < 2:
                raise ValueError(
                    "control='shuffled' expected two or more distinct conditions, got "
                    f"only {self._distinct[0][1]!r}"
                )
            own = (own + 1) % len(self._distinct)
        shown = [self._distinct[number] for number in own]
        return np.stack([tokens for tokens, _ in shown]), [text for _, text in shown]
