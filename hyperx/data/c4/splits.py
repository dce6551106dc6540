"""How hyperpretraining cuts plain text: pure functions of tokens.

A document is cut into windows, and a window into what the hypernetwork reads
(`condition`), what the encoder reads (`inputs`) and what is predicted (`targets`).
Nothing is padded, and no end of sequence is added. All randomness is that of a
generator which depends on (seed, document, window) alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Lengths of input and target in `caclm`.
SHORTEST_PART = 16
LONGEST_PART = 128

# The shortest window: half of it at least is left to be the condition.
SHORTEST_WINDOW = 4 * SHORTEST_PART


class Parts(NamedTuple):
    """What a window is cut into, each [any] int32.

    Attributes:
      condition: for the hypernetwork.
      inputs: for the encoder.
      prompt: condition and inputs in one, as a model without hypernetwork reads them.
      targets: for the decoder.
    """

    condition: np.ndarray
    inputs: np.ndarray
    prompt: np.ndarray
    targets: np.ndarray


def generator(seed: int, document: int, window: int) -> np.random.Generator:
    """The randomness of one window."""
    key = np.random.SeedSequence((seed, document, window))
    return np.random.Generator(np.random.Philox(key))


def check_window(length: int) -> None:
    """Raises a ValueError if windows of this length would all be left out."""
    if length < SHORTEST_WINDOW:
        raise ValueError(
            f"expected windows of at least {SHORTEST_WINDOW} tokens, got {length}"
        )


def windows(tokens: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Consecutive windows of a document; a rest below `SHORTEST_WINDOW` is left out.

    Args:
      tokens: [any] of one document.
      length: of a window; the last one may be shorter.
    """
    check_window(length)
    for start in range(0, len(tokens), length):
        window = tokens[start : start + length]
        if len(window) >= SHORTEST_WINDOW:
            yield window


def prefix_lm(window: np.ndarray, random: np.random.Generator) -> Parts:
    """Three parts a, b, c of a window: condition, input, target (HINT).

    As in its published code: of n tokens, the first cut s is uniform in 1..n-3 and the
    second in s..n-3. So a is half of the window on average, b and c are a quarter each,
    and b may be empty.

    NOTE: there, both cuts are drawn with one random seed, and documents are joined
    before they are cut into windows; here the draws are independent, and no window
    holds more than one document.
    """
    last = len(window) - 3
    first = random.integers(1, last, endpoint=True)
    second = random.integers(first, last, endpoint=True)
    return Parts(
        condition=window[:first],
        inputs=window[first:second],
        prompt=window[:second],
        targets=window[second:],
    )


def caclm(
    window: np.ndarray,
    random: np.random.Generator,
    *,
    gap: int,
    shortest: int = SHORTEST_PART,
    longest: int = LONGEST_PART,
) -> Parts:
    """Four parts A, B, C, D of a window: input B, target C, condition A and D.

    Context-augmented conditional language modelling (HyperTuning, Phang et al. 2023):
    what is generated must carry what A and D say about the continuation of B. The
    lengths of B and C are uniform and the block B C lies anywhere; A or D may be empty.

    NOTE: the paper's lengths and separator are not known; these are ours.

    Args:
      window: [n].
      random: draws the cuts.
      gap: token in the place of what is left out: of B and C in the condition, which
        is A, gap, D; of C in the prompt, which is A, B, gap, D.
      shortest: least length of B and C.
      longest: greatest length of B and C; they are never more than a quarter of the
        window each.

    Raises:
      ValueError: the window is shorter than four times `shortest`.
    """
    most = min(longest, len(window) // 4)
    if not 1 <= shortest <= most:
        raise ValueError(
            f"expected parts of at least {shortest} tokens in at most {longest} and a "
            f"quarter of the window, got a window of {len(window)}"
        )
    b, c = random.integers(shortest, most, size=2, endpoint=True)
    start = random.integers(0, len(window) - b - c, endpoint=True)
    before, inputs, targets, after = np.split(window, [start, start + b, start + b + c])
    after = np.concatenate([np.array([gap], window.dtype), after])
    return Parts(
        condition=np.concatenate([before, after]),
        inputs=inputs,
        prompt=np.concatenate([before, inputs, after]),
        targets=targets,
    )
