"""P3: what a hypernetwork reads of a prompt, and the rows of a data set, as tokens.

template  what the prompt's template says without the data (HINT, Ivison et al. 2023;
          `instruction`)
few_shot  examples of the same template, `<extra_id_99> input <extra_id_98> target`
          one after the other (HyperT5, Phang et al. 2022)
both      `input Output: target` and a blank line for each, and ` Definition: ` before
          the template (HINT, few-shot)
name      the name of the prompt

Of the examples, whole ones are told up to the first that does not fit. Everything is
made of tokens, since SentencePiece does not know the sentinels in a text; the texts
beside them are for people.

NOTE: the two papers differ in what else they do. HINT's own training puts the examples
in front of the input, and cuts them, not the whole, to 960 tokens. HyperT5 leaves out
prompts with long inputs.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperx.data import episodes
from hyperx.data.p3 import rows as p3_rows

CONDITIONS = ("template", "few_shot", "both", "name")
FEATURES = ("condition", "inputs", "prompt", "targets")
_SENTINELS = (99, 98)  # <x> and <y>


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """What is told of a prompt.

    Attributes:
      condition: one of `CONDITIONS`.
      shots: examples told, at most; 16 in HyperT5, 1, 2, 4 or 5 in HINT.
      queries: training rows in a run that share a condition.
      passes: how often each training row is asked, each time of another condition.
      max_tokens: of a condition with examples, and of the prompt with the input behind
        it, end of sequence included.
      seed: draws the examples, together with the name of the task.
    """

    condition: str = "template"
    shots: int = 16
    queries: int = 4
    passes: int = 1
    max_tokens: int = 1024
    seed: int = 0

    def __post_init__(self):
        if self.condition not in CONDITIONS:
            raise ValueError(
                f"expected a condition of {CONDITIONS}, got {self.condition!r}"
            )

    @property
    def tells_template(self) -> bool:
        return self.condition in ("template", "both")

    @property
    def tells_examples(self) -> bool:
        return self.condition in ("few_shot", "both")

    def count(self, examples: int, *, are_episodes: bool) -> int:
        """How many rows are made of examples."""
        return examples * (self.passes if are_episodes and self.tells_examples else 1)


class Piece(NamedTuple):
    """A piece of text and its tokens."""

    text: str
    tokens: list[int]

    @classmethod
    def join(cls, pieces: Iterable["Piece"]) -> "Piece":
        texts, tokens = [], []
        for piece in pieces:
            texts.append(piece.text)
            tokens += piece.tokens
        return cls("".join(texts), tokens)


class Writer:
    """Writes the conditions and prompts of one task.

    Args:
      form: what is told.
      encode: text to tokens, without end of sequence.
      vocab_size: of the vocabulary, whose last ids are the sentinels.
      told: the template or name, if the form wants it.
    """

    def __init__(
        self,
        form: Format,
        encode: Callable[[str], Sequence[int]],
        vocab_size: int,
        told: str = "",
    ):
        self._form = form
        self._encode = encode
        self._sentinels = [
            Piece(f" <extra_id_{n}> ", [vocab_size - 1 - n]) for n in _SENTINELS
        ]
        if form.condition == "both":
            told = f" Definition: {told}"
        self._told = [self.piece(told)] if told else []

    def piece(self, text: str) -> Piece:
        return Piece(text, list(self._encode(text)))

    def example(self, example: p3_rows.Example) -> Piece:
        """An example as it is told."""
        if self._form.condition == "both":
            text = f"{example.inputs} Output: {example.targets}\n\n"
            return self.piece(text)
        return Piece.join([*self._asked(example), self.piece(example.targets)])

    def condition(self, shown: Sequence[Piece]) -> Piece:
        """What a hypernetwork reads.

        Args:
          shown: examples as they are told. If nothing else is told, the first of them
            is even if it is too long: then it is cut where lengths are set.
        """
        least = 0 if self._told else 1
        return Piece.join([*self._fitting(shown, self._told, least), *self._told])

    def prompt(self, shown: Sequence[Piece], example: p3_rows.Example) -> Piece:
        """Condition and input in one; few-shot as an example that lacks its target."""
        asked = [self.piece(f"\n{example.inputs}")]
        if self._form.condition == "few_shot":
            asked = self._asked(example)
        rest = [*self._told, *asked]
        return Piece.join([*self._fitting(shown, rest), *rest])

    def _asked(self, example: p3_rows.Example) -> list[Piece]:
        start, end = self._sentinels
        return [start, self.piece(example.inputs), end]

    def _fitting(
        self, shown: Sequence[Piece], rest: Sequence[Piece], least: int = 0
    ) -> Sequence[Piece]:
        """The first examples that fit beside the rest."""
        room = self._form.max_tokens - 1 - sum(len(piece.tokens) for piece in rest)
        ends = itertools.accumulate(len(piece.tokens) for piece in shown)
        fit = sum(end <= room for end in ends)
        return shown[: max(fit, least)]


def rows(
    task: str,
    examples: Sequence[p3_rows.Example],
    support: Sequence[p3_rows.Example] | None,
    form: Format,
    writer: Writer,
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a split.

    Args:
      task: the name of the prompt.
      examples: of the split.
      support: of another split, to be drawn from once for all rows; None, to train on
        episodes, draws from the examples themselves, but never one that is asked.
      form: what is told.
      writer: of this task and form.

    Yields:
      `condition`, `inputs`, `prompt`, `targets` (tokens) and the same names with
      `_pretokenized` (texts); `references`, `task`, `id`; `choices` and `answer` of
      examples that are ranked.
    """
    seed = zlib.crc32(f"{form.seed}/{task}".encode())
    if not form.tells_examples:
        runs = [(examples, [])]
    elif support is None:
        runs = _episodes(examples, form, writer, seed)
    else:
        order = np.random.default_rng(seed).permutation(len(support))
        shown = [writer.example(support[i]) for i in order[: form.shots]]
        runs = [(examples, shown)]
    asked = 0
    for asked_together, shown in runs:
        condition = writer.condition(shown)
        for example in asked_together:
            row = _row(task, example, condition, shown, writer)
            if support is None and form.tells_examples:
                row["id"] = f"{asked // len(examples)}/{example.id}"
            yield row
            asked += 1


def _episodes(
    examples: Sequence[p3_rows.Example], form: Format, writer: Writer, seed: int
) -> Iterator[tuple[list[p3_rows.Example], list[Piece]]]:
    told = [writer.example(example) for example in examples]
    drawn = episodes.episodes(
        len(examples),
        shots=form.shots,
        queries=form.queries,
        seed=seed,
        passes=form.passes,
    )
    for asked, shown in drawn:
        yield [examples[i] for i in asked], [told[i] for i in shown]


def _row(
    task: str,
    example: p3_rows.Example,
    condition: Piece,
    shown: Sequence[Piece],
    writer: Writer,
) -> dict[str, Any]:
    pieces = {
        "condition": condition,
        "inputs": writer.piece(example.inputs),
        "prompt": writer.prompt(shown, example),
        "targets": writer.piece(example.targets),
    }
    row: dict[str, Any] = {"task": task, "id": example.id}
    for name, piece in pieces.items():
        row[name] = np.array(piece.tokens, np.int32)
        row[f"{name}_pretokenized"] = piece.text.strip()
    row["references"] = [example.targets]
    if example.choices:
        row |= {"choices": list(example.choices), "answer": example.answer}
    return row
