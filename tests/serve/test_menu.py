"""Layouts: every row has a cell of its own task, in a shape of the menu."""

import numpy as np
import pytest

from hyperx.serve import menu


def test_the_menu_is_small_and_holds_any_rows():
    shapes = menu.shapes(16, grouped=True)
    assert shapes == [(1, 1), (1, 4), (1, 16), (4, 1), (4, 4), (16, 1)]
    assert menu.shapes(16, grouped=False) == [(1, 1), (1, 4), (1, 16)]
    assert menu.shapes(1, grouped=True) == [(1, 1)]
    rng = np.random.default_rng(0)
    for _ in range(300):
        tasks = [str(task) for task in rng.integers(0, 9, rng.integers(1, 17))]
        layout = menu.layout(tasks, shapes)
        assert (len(layout.groups), layout.rows) in shapes
        assert len(set(layout.cells)) == len(tasks)
        for task, (group, row) in zip(tasks, layout.cells, strict=True):
            assert layout.groups[group] == task
            assert row < layout.rows
        assert layout.fill == len(tasks) / (len(layout.groups) * layout.rows)


@pytest.mark.parametrize(
    ("tasks", "shape"),
    [
        ("a", (1, 1)),
        ("aaa", (1, 4)),
        ("aaaaa", (1, 16)),
        ("abc", (4, 1)),
        ("aaaabb", (4, 4)),
        ("aaaaabbc", (4, 4)),
        ("abcdefg", (16, 1)),
    ],
)
def test_the_smallest_shape_is_taken_and_of_these_the_fewest_groups(tasks, shape):
    layout = menu.layout(list(tasks), menu.shapes(16, grouped=True))
    assert (len(layout.groups), layout.rows) == shape


def test_too_many_rows_are_refused():
    with pytest.raises(ValueError, match="got 5 rows of 1 tasks"):
        menu.layout(["a"] * 5, menu.shapes(4, grouped=True))
