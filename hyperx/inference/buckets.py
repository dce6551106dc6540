"""Buckets: shapes are padded to powers of two, so that few of them are compiled."""

from collections.abc import Sequence

import numpy as np

SHORTEST = 8


def size(size: int) -> int:
    """The smallest power of two that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


def length(length: int) -> int:
    """To how many tokens `length` tokens are padded."""
    return max(size(length), SHORTEST)


def groups(groups: int, parts: int = 1) -> int:
    """To how many groups `groups` are padded: a single one stays alone.

    Args:
        groups: conditions of a batch.
        parts: devices that groups are shared out to; each gets a power of two.
    """
    return 1 if groups == 1 else parts * size(-(-groups // parts))


def filled(array: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Pads the first axes of an array to `sizes` with zeros."""
    widths = [(0, size - own) for size, own in zip(sizes, array.shape, strict=False)]
    return np.pad(array, [*widths, *[(0, 0)] * (array.ndim - len(widths))])


def pad_length(tokens: np.ndarray) -> np.ndarray:
    """Pads the last axis, that of tokens, to its bucket with zeros."""
    longest = tokens.shape[-1]
    widths = [*[(0, 0)] * (tokens.ndim - 1), (0, length(longest) - longest)]
    return np.pad(tokens, widths)
