"""Tasks answered by ranking: the likeliest of a row's choices is the answer.

The score of a choice is the sum of the log-probabilities of its tokens, end of sequence
included, given the input (T0, Sanh et al. 2022, section 5). A row has

    choices        [C] strings, C >= 2: what may be said
    answer         int32: the number of the right one

and instead of `choices`, where the target stays and the input differs, as in MetaICL's
channel (Min et al. 2022, section 3.2):

    choice_inputs  [C] strings: what is read in the place of `inputs`
    choice_prompts [C] strings: the same for `prompt`, for models that read that
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hyperx.data import records

CHOICES, CHOICE_INPUTS, CHOICE_PROMPTS = "choices", "choice_inputs", "choice_prompts"
ANSWER = "answer"
_TEXTS = (CHOICES, CHOICE_INPUTS)
_LABELS = ("task", "id", "category")


def postprocess(
    text: str, *, example: Mapping[str, Any], is_target: bool
) -> str | dict[str, Any]:
    """For `seqio.Task`: what score metrics compare with.

    Args:
      text: a target, or what was generated.
      example: the row it belongs to.
      is_target: which of the two it is.

    Returns:
      Generated text as it is; for a target `choices` (strings; of a channel the inputs
      among which is chosen), `answer` (int) and, if the row has them, `references`,
      `task`, `id` and `category`.
    """
    if not is_target:
        return text
    record: dict[str, Any] = {
        CHOICES: choices(example),
        ANSWER: int(example[ANSWER]),
    }
    if "references" in example:
        record["references"] = as_texts(example["references"])
    return record | {key: as_text(example[key]) for key in _LABELS if key in example}


def accuracy(
    targets: Sequence[Mapping[str, Any]], scores: np.ndarray
) -> dict[str, float]:
    """Metric function: the percentage of rows whose best choice is the answer.

    Args:
      targets: records with `answer`.
      scores: [N, C] log-probabilities, -inf where a row has fewer choices.
    """
    answers = np.array([target[ANSWER] for target in targets])
    return {"accuracy": 100 * float(np.mean(chosen(scores) == answers))}


def chosen(scores: np.ndarray) -> np.ndarray:
    """The number of the best choice of each row, [N]; the first of equal ones."""
    return np.asarray(scores).argmax(axis=-1)


def choices(row: Mapping[str, Any]) -> list[str]:
    """What is chosen among: `choices` of a row, or else its `choice_inputs`."""
    return as_texts(row[CHOICES] if CHOICES in row else row[CHOICE_INPUTS])


def check(row: Mapping[str, Any], place: str) -> None:
    """Checks that a row can be ranked.

    Args:
      row: anything with the columns above.
      place: where it stands, e.g. file and line, for the message.

    Raises:
      records.MalformedRecord: a ValueError; the row has fewer than two choices, both
        kinds of them, or an answer that is none of them.
    """
    kinds = [name for name in _TEXTS if name in row]
    if len(kinds) != 1 or ANSWER not in row:
        raise records.MalformedRecord(
            f"{place}: expected {CHOICES!r} or {CHOICE_INPUTS!r}, and {ANSWER!r}, got "
            f"a row of {sorted(row)}"
        )
    count, answer = len(row[kinds[0]]), int(row[ANSWER])
    if count < 2:
        raise records.MalformedRecord(
            f"{place}: expected two or more {kinds[0]}, got {count}"
        )
    if not 0 <= answer < count:
        raise records.MalformedRecord(
            f"{place}: expected an answer of 0 to {count - 1}, got {answer}"
        )


# (conditions [N, I] or None, encoder tokens [N, S], choices [N, C, T]) -> [N, C]
Rank = Callable[[np.ndarray | None, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Choices:
    """What N rows choose among, as tokens, padded with 0.

    Attributes:
      outputs: [N, C, T], nothing but padding where a row has fewer; of a channel the
        one output of each row, [N, 1, T].
      inputs: of a channel, [N, C, S] in the same way; else None.
    """

    outputs: np.ndarray
    inputs: np.ndarray | None = None

    @property
    def present(self) -> np.ndarray:
        """Which choices there are, [N, C]."""
        return (self.outputs if self.inputs is None else self.inputs).any(axis=-1)

    def score(
        self, rank: Rank, conditions: np.ndarray | None, encoder_tokens: np.ndarray
    ) -> np.ndarray:
        """Scores [N, C] float32, -inf where a row has fewer choices.

        Args:
          rank: called once: with all choices of each row, or, of a channel, with a row
            for each input.
          conditions: [N, I], or None.
          encoder_tokens: [N, S].

        Raises:
          ValueError: `rank` returned another shape.
          FloatingPointError: a score is no number.
        """
        present, outputs = self.present, self.outputs
        if self.inputs is not None:
            of_row = np.nonzero(present)[0]
            conditions = None if conditions is None else conditions[of_row]
            encoder_tokens, outputs = self.inputs[present], outputs[of_row]
        found = np.asarray(rank(conditions, encoder_tokens, outputs), np.float32)
        if found.shape != outputs.shape[:2]:
            raise ValueError(
                f"expected scores of shape {list(outputs.shape[:2])}, got "
                f"{list(found.shape)}"
            )
        scores = np.full(present.shape, -np.inf, np.float32)
        scores[present] = found[:, 0] if self.inputs is not None else found[present]
        wrong = np.isnan(scores).any(axis=1)
        if wrong.any():
            raise FloatingPointError(
                f"expected numbers for scores, got NaN in {wrong.sum()} of "
                f"{len(scores)} rows, first in row {wrong.argmax()}"
            )
        return scores


def tokens(
    rows: Sequence[Sequence[str]],
    encode: Callable[[str], Sequence[int]],
    eos_id: int,
    length: int | None = None,
) -> tuple[np.ndarray, int]:
    """Tokenises what is chosen among.

    Args:
      rows: the choices of each row.
      encode: text to tokens without end of sequence.
      eos_id: the end of sequence.
      length: longest of them, end included; as long as they are if None.

    Returns:
      [N, C, T] int32, padded with 0, nothing but padding where a row has fewer; and how
      many rows have one that was cut.
    """
    distinct = {choice for row in rows for choice in row}
    known = {choice: [*encode(choice), eos_id] for choice in distinct}
    longest = max(map(len, known.values()))
    length = longest if length is None else min(length, longest)
    table = np.zeros((len(rows), max(map(len, rows)), length), np.int32)
    for number, row in enumerate(rows):
        table[number, : len(row)] = [fit(known[choice], length) for choice in row]
    cut = sum(any(len(known[choice]) > length for choice in row) for row in rows)
    return table, cut


def fit(ids: Sequence[int], length: int) -> np.ndarray:
    """Tokens cut to a length before the last one, or padded with 0: [length] int32."""
    kept = [*ids[: length - 1], *ids[length - 1 :][-1:]]
    return np.pad(np.array(kept, np.int32), (0, length - len(kept)))


def as_texts(values: Sequence[bytes | str]) -> list[str]:
    return [as_text(value) for value in values]


def as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
