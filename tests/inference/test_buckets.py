"""Buckets: few sizes, and padding that is nothing but zeros behind."""

import numpy as np
import pytest

from hyperx.inference import buckets


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [(1, 1, 1), (1, 8, 1), (3, 1, 4), (4, 1, 4), (5, 8, 8), (9, 8, 16), (18, 6, 24)],
)
def test_groups_are_a_power_of_two_on_every_device(count, parts, expected):
    assert buckets.groups(count, parts) == expected


def test_only_the_first_axes_are_filled():
    array = np.arange(1, 13).reshape(1, 3, 4)
    filled = buckets.filled(array, (2, 4))
    assert filled.shape == (2, 4, 4)
    np.testing.assert_array_equal(filled[:1, :3], array)
    assert filled.sum() == array.sum()


@pytest.mark.parametrize(("length", "expected"), [(1, 8), (8, 8), (9, 16), (33, 64)])
def test_lengths_are_powers_of_two(length, expected):
    tokens = np.ones((2, length), np.int32)
    padded = buckets.pad_length(tokens)
    assert padded.shape == (2, expected)
    assert padded.sum() == tokens.sum()
