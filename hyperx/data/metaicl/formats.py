"""MetaICL (Min et al. 2022): the texts made of its examples, sign for sign.

*Direct*: an example is `input`, newline, `output`, and the output is predicted.
*Channel*: `output`, newline, `input`, and the input is predicted; the options of a
question are then ranked by how likely they make the input. Three newlines stand between
examples. Pure Python.

NOTE: where MetaICL cuts the concatenation of all examples at its front, token by token,
here the first examples that fit are told whole. And SentencePiece reads a newline as a
space: with T5's vocabulary nothing but a space separates input, output and examples.
"""

import bisect
import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hyperx.data import episodes
from hyperx.data.metaicl import files as metaicl

# The number of tokens of a text, its end of sequence included.
CountTokens = Callable[[str], int]

BETWEEN = "\n\n\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How examples are written.

    Attributes:
      channel: whether the input is predicted from the output.
      max_example_tokens: of an example, end of sequence included; what is too long
        loses the end of its input, as in MetaICL.
      max_tokens: of the examples told together, and of them and the question.
    """

    channel: bool = False
    max_example_tokens: int = 256
    max_tokens: int = 1024

    @property
    def prefix(self) -> str:
        """Of the names of seqio tasks."""
        return "metaicl_channel" if self.channel else "metaicl"

    def read_and_predicted(self, text: str, output: str) -> tuple[str, str]:
        """Of an example's input and output, what is given and what is predicted."""
        return (output, text) if self.channel else (text, output)

    def write(self, text: str, output: str) -> str:
        """An example as it is told."""
        return "\n".join(self.read_and_predicted(text, output))

    def fit(self, text: str, output: str, count_tokens: CountTokens) -> tuple[str, str]:
        """Input and output, cut so that the example has few enough tokens.

        The input is cut; the output only if it is too long by itself.
        """
        limit = self.max_example_tokens
        output = _longest(output, limit, count_tokens)
        text = _longest(
            text, limit, lambda part: count_tokens(self.write(part, output))
        )
        return text, output


@dataclasses.dataclass(frozen=True)
class Demonstrations:
    """Examples as they are told, with the tokens that each takes after another."""

    texts: Sequence[str]
    tokens: Sequence[int]

    @classmethod
    def write(
        cls,
        pairs: Iterable[tuple[str, str]],
        form: Format,
        count_tokens: CountTokens,
    ) -> "Demonstrations":
        """Of inputs and outputs that were cut to fit."""
        texts = [form.write(*pair) for pair in pairs]
        return cls(texts, [_tokens(text, count_tokens) for text in texts])

    def pick(self, indices: Iterable[int]) -> "Demonstrations":
        which = list(indices)
        return Demonstrations(
            [self.texts[i] for i in which], [self.tokens[i] for i in which]
        )

    def first(self, max_tokens: int) -> Sequence[str]:
        """Those up to the first that does not fit any more."""
        ends = list(itertools.accumulate(self.tokens))
        return self.texts[: bisect.bisect_right(ends, max_tokens)]


def training_rows(
    task: str,
    examples: Sequence[metaicl.Example],
    form: Format,
    count_tokens: CountTokens,
    *,
    shots: int,
    queries: int,
    seed: int,
    passes: int,
) -> Iterator[dict[str, Any]]:
    """Yields episodes of a training task, row by row.

    Args:
      task: its name.
      examples: all of its examples.
      form: how they are written.
      count_tokens: the number of tokens of a text, its end of sequence included.
      shots: examples told in a condition, drawn anew for each.
      queries: rows in a run that share a condition.
      seed: of the draws, together with the task's name.
      passes: how often each example is a query.

    Yields:
      `condition` (the examples told), `inputs`, `targets`, `prompt` (condition and
      input), `references`, `task`, `id` (pass and number of the example).
    """
    pairs = _fit_all(examples, form, count_tokens)
    told = Demonstrations.write(pairs, form, count_tokens)
    drawn = episodes.episodes(
        len(examples),
        shots=shots,
        queries=queries,
        seed=zlib.crc32(f"{seed}/{task}".encode()),
        passes=passes,
    )
    asked = 0
    for query_indices, support in drawn:
        shown = told.pick(support)
        for index in query_indices.tolist():
            yield _row(form, shown, *pairs[index], count_tokens) | {
                "references": [examples[index].output],
                "task": task,
                "id": f"{asked // len(examples)}/{index}",
            }
            asked += 1


def ranking_rows(
    task: str,
    support: Sequence[metaicl.Example],
    examples: Sequence[metaicl.Example],
    form: Format,
    count_tokens: CountTokens,
) -> Iterator[dict[str, Any]]:
    """Yields the questions of a target task, to be answered by ranking.

    Args:
      task: its name.
      support: the examples told, the same for every question.
      examples: the questions.
      form: how they are written.
      count_tokens: the number of tokens of a text, its end of sequence included.

    Yields:
      As `training_rows`, and `answer`, the number of the right option, and `choices`;
      or, of the channel, `choice_inputs` and `choice_prompts`: what to read in the
      place of `inputs` and `prompt`. The input is cut to fit beside any option.
    """
    pairs = _fit_all(support, form, count_tokens)
    shown = Demonstrations.write(pairs, form, count_tokens)
    for number, example in enumerate(examples):
        longest = max(example.options, key=count_tokens)
        text, _ = form.fit(example.input, longest, count_tokens)
        row = _row(form, shown, text, example.output, count_tokens)
        if form.channel:
            each = [
                _row(form, shown, text, option, count_tokens)
                for option in example.options
            ]
            row["choice_inputs"] = [choice["inputs"] for choice in each]
            row["choice_prompts"] = [choice["prompt"] for choice in each]
        else:
            row["choices"] = list(example.options)
        yield row | {
            "answer": example.options.index(example.output),
            "references": [example.output],
            "task": task,
            "id": str(number),
        }


def _row(
    form: Format,
    shown: Demonstrations,
    text: str,
    output: str,
    count_tokens: CountTokens,
) -> dict[str, Any]:
    read, predicted = form.read_and_predicted(text, output)
    limit = form.max_tokens - 1  # for the end of sequence
    beside = shown.first(limit - _tokens(read, count_tokens))
    return {
        "condition": BETWEEN.join(shown.first(limit)),
        "inputs": read,
        "prompt": BETWEEN.join([*beside, read]),
        "targets": predicted,
    }


def _fit_all(
    examples: Sequence[metaicl.Example], form: Format, count_tokens: CountTokens
) -> list[tuple[str, str]]:
    return [form.fit(e.input, e.output, count_tokens) for e in examples]


def _tokens(text: str, count_tokens: CountTokens) -> int:
    """Of a text that follows another."""
    return count_tokens(BETWEEN + text) - 1


def _longest(text: str, limit: int, count_tokens: CountTokens) -> str:
    """The longest beginning of a text that has at most so many tokens."""
    if count_tokens(text) <= limit:
        return text
    lengths = range(1, len(text) + 1)
    return text[
        : bisect.bisect_right(lengths, limit, key=lambda n: count_tokens(text[:n]))
    ]
