"""Buckets: shapes are padded to powers of two, so that few of them are compiled."""

import numpy as np

SHORTEST = 8


def size(size: int) -> int:
    """The smallest power of two that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


def length(length: int) -> int:
    """To how many tokens `length` tokens are padded."""
    return max(size(length), SHORTEST)


def pad(tokens: np.ndarray, axis: int) -> np.ndarray:
    """Pads an axis to its bucket with zeros."""
    return _padded(tokens, axis, size(tokens.shape[axis]))


def pad_length(tokens: np.ndarray) -> np.ndarray:
    """Pads the last axis, that of tokens, to its bucket with zeros."""
    return _padded(tokens, tokens.ndim - 1, length(tokens.shape[-1]))


def _padded(tokens: np.ndarray, axis: int, size: int) -> np.ndarray:
    widths = [(0, 0)] * tokens.ndim
    widths[axis] = (0, size - tokens.shape[axis])
    return np.pad(tokens, widths)
