"""Menu: the few shapes of batches that a service compiles, and how rows lie in them.

A batch is G groups of R rows; a group is one task. Any rows fit into the shape of one
row per group, so that no mixture of tasks needs a shape of its own; a task with more
rows than R has several groups.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

Shape = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the rows of a batch lie.

    Attributes:
        groups: the task of every group (G), the last one repeated where none is needed.
        rows: per group (R).
        cells: group and row of every row that was given, in their order.
    """

    groups: tuple[str, ...]
    rows: int
    cells: tuple[tuple[int, int], ...]

    @property
    def fill(self) -> float:
        """The part of all cells that is used."""
        return len(self.cells) / (len(self.groups) * self.rows)


def shapes(max_rows: int, *, grouped: bool) -> list[Shape]:
    """Shapes for up to `max_rows` rows, a power of two.

    Args:
        max_rows: of a batch.
        grouped: whether tasks differ; otherwise all rows are of one group.
    """
    middle = 1 << (max_rows.bit_length() - 1) // 2
    sizes = sorted({1, middle, max_rows})
    return [
        (groups, rows)
        for groups in (sizes if grouped else [1])
        for rows in sizes
        if groups * rows <= max_rows
    ]


def layout(tasks: Sequence[str], menu: Sequence[Shape]) -> Layout:
    """Lays rows out in the smallest shape that holds them.

    Args:
        tasks: of every row.
        menu: shapes to choose from; of several equally small ones, the one with the
            fewest groups is taken.

    Raises:
        ValueError: if none holds them.
    """
    counts = Counter(tasks)
    fitting = [
        (groups * rows, groups, rows)
        for groups, rows in menu
        if sum(-(-count // rows) for count in counts.values()) <= groups
    ]
    if not fitting:
        raise ValueError(
            f"expected rows that fit into one of {list(menu)}, got {len(tasks)} rows "
            f"of {len(counts)} tasks"
        )
    _, groups, rows = min(fitting)
    names: list[str] = []
    filled: dict[str, tuple[int, int]] = {}
    cells = []
    for task in tasks:
        group, used = filled.get(task, (-1, rows))
        if used == rows:
            group, used = len(names), 0
            names.append(task)
        cells.append((group, used))
        filled[task] = group, used + 1
    names += names[-1:] * (groups - len(names))
    return Layout(tuple(names), rows, tuple(cells))
