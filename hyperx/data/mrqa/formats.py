"""MRQA 2019: windows of contexts, as Hyperdecoders (Ivison and Peters 2022) read them.

Pure Python.
"""

import bisect
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hyperx.data.mrqa import files as mrqa

# The number of tokens of a text, its end of sequence included.
CountTokens = Callable[[str], int]


def windows(
    question: mrqa.Question, count_tokens: CountTokens, *, max_tokens: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Yields parts (start, stop) of the context that fit beside the question.

    Each begins with up to `overlap` tokens of the one before it, as the windows of
    Hyperdecoders do.

    NOTE: those are cut at tokens, these at white space, so they hold a little less. A
    word that has too many tokens for any window makes one that is too long.

    Args:
      question: question and context.
      count_tokens: the number of tokens of a text, its end of sequence included.
      max_tokens: of a window, with the question and the end of sequence.
      overlap: tokens shared with the window before.

    Raises:
      ValueError: the question leaves no more tokens than overlap.
    """
    room = max_tokens - count_tokens(prompt(question.text, ""))
    if room <= overlap:
        raise ValueError(
            f"expected a question that leaves more than {overlap} of {max_tokens} "
            f"tokens, got question {question.id}, which leaves {room}"
        )
    words = list(re.finditer(r"\s*\S+", question.context))
    sizes = (count_tokens(word.group()) - 1 for word in words)
    ends = [0, *itertools.accumulate(sizes)]
    first = stop = 0
    while stop < len(words):
        end = bisect.bisect_right(ends, ends[first] + room) - 1
        if end <= stop:  # The next word does not fit beside the overlap.
            first = stop
            end = max(bisect.bisect_right(ends, ends[first] + room) - 1, stop + 1)
        stop = end
        yield words[first].start(), words[stop - 1].end()
        first = bisect.bisect_left(ends, ends[stop] - overlap)


def examples(
    subset: str,
    questions: Sequence[mrqa.Question],
    count_tokens: CountTokens,
    *,
    max_tokens: int = 512,
    overlap: int = 128,
    drop_unanswered: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each window of each question.

    Args:
      subset: name of the set.
      questions: of the set.
      count_tokens: the number of tokens of a text, its end of sequence included.
      max_tokens: as in `windows`.
      overlap: as in `windows`.
      drop_unanswered: whether to leave windows without an answer out.

    Yields:
      `inputs` and `prompt` (`question: ... context: ...`), `targets` (the first answer
      within the window, or nothing), `condition` and `task` (name of the set),
      `references`, `id` (of question and window), `question` (id of the question).
    """
    count_tokens = functools.lru_cache(maxsize=1 << 18)(count_tokens)  # Words recur.
    for question in questions:
        parts = windows(question, count_tokens, max_tokens=max_tokens, overlap=overlap)
        for number, (start, stop) in enumerate(parts):
            inside = (s[0] for s in question.spans if start <= s[1] and s[2] < stop)
            target = next(inside, "")
            if drop_unanswered and not target:
                continue
            text = prompt(question.text, question.context[start:stop].strip())
            yield {
                "condition": subset,
                "inputs": text,
                "prompt": text,
                "targets": target,
                "references": list(question.answers),
                "task": subset,
                "id": f"{question.id}/{number}",
                "question": question.id,
            }


def prompt(question: str, context: str) -> str:
    """What Hyperdecoders read."""
    return f"question: {question} context: {context}"
