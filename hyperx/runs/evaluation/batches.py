"""Evaluation in batches: which rows are computed together, under which conditions."""

from collections.abc import Iterator

import numpy as np

from hyperx.inference.predictor import Predictor
from hyperx.runs import distributed, progress
from hyperx.task_state import TaskState


class BatchedModel:
    """A `hyperx.data.evaluation.Model`: answers all rows of a task, G x R at a time.

    Every distinct condition is read once, and so is every input that is ranked.

    Args:
        predictor: the model.
        groups: conditions that are computed together (G).
        rows: rows per condition that are computed together (R); of ranked tasks, the
            choices of all rows.
        max_new_tokens: longest output.
        description: of the progress.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        groups: int,
        rows: int,
        max_new_tokens: int,
        description: str = "evaluate",
    ) -> None:
        self._predictor = predictor
        self._groups, self._rows = groups, rows
        self._max_new_tokens = max_new_tokens
        self._description = description

    def generate(
        self, conditions: np.ndarray | None, encoder_tokens: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``[N, T]`` and their log-probabilities ``[N]``."""
        count, rows = len(encoder_tokens), self._rows
        tokens = np.zeros((count, self._max_new_tokens), np.int32)
        scores = np.zeros(count, np.float32)
        for state, members in self._batches(conditions, count, rows):
            inputs = _gathered(encoder_tokens, members, rows)
            said, found = self._predictor.generate_tokens(
                inputs, state, self._max_new_tokens
            )
            for group, own in enumerate(members):
                tokens[own] = said[group, : len(own)]
                scores[own] = found[group, : len(own)]
        return tokens, scores

    def rank(
        self,
        conditions: np.ndarray | None,
        encoder_tokens: np.ndarray,
        choices: np.ndarray,
    ) -> np.ndarray:
        """Log-probabilities ``[N, C]`` of choices ``[N, C, T]``."""
        count, width, _ = choices.shape
        rows = max(1, self._rows // width)
        scores = np.zeros((count, width), np.float32)
        for state, members in self._batches(conditions, count, rows):
            inputs = _gathered(encoder_tokens, members, rows)
            options = _gathered(choices, members, rows)
            found = self._predictor.score_tokens(inputs, options, state)
            for group, own in enumerate(members):
                scores[own] = found[group, : len(own)]
        return scores

    def _batches(
        self, conditions: np.ndarray | None, count: int, rows: int
    ) -> Iterator[tuple[TaskState, list[np.ndarray]]]:
        """Yields the state of G conditions with up to `rows` row numbers of each."""
        done = 0
        first = distributed.first()
        with progress.Bar(count, description=self._description, enabled=first) as bar:
            for which, members in blocks(conditions, count, self._groups):
                state = self._predictor.adapt_tokens(which)
                for start in range(0, max(map(len, members)), rows):
                    chosen = [own[start : start + rows] for own in members]
                    yield state, chosen
                    size = sum(map(len, chosen))
                    done += size
                    bar.update(done, rows=size)


def blocks(
    conditions: np.ndarray | None, count: int, groups: int
) -> list[tuple[np.ndarray | None, list[np.ndarray]]]:
    """Plans which rows are computed under the same states.

    Args:
        conditions: tokens ``[N, I]``, or None.
        count: N.
        groups: conditions per block (G).

    Returns:
        Per block the tokens of its conditions ``[G, I]`` and the rows of each. Where
        fewer are left, some stand there several times and share their rows out; without
        conditions, all rows are.
    """
    if conditions is None:
        return [(None, np.array_split(np.arange(count), groups))]
    distinct, of_row = np.unique(conditions, axis=0, return_inverse=True)
    of_row = of_row.ravel()
    plan = []
    for start in range(0, len(distinct), groups):
        chosen = np.arange(start, min(start + groups, len(distinct)))
        of_group = np.sort(np.resize(chosen, groups))
        members = [
            part
            for index in chosen
            for part in np.array_split(
                np.flatnonzero(of_row == index), np.sum(of_group == index)
            )
        ]
        plan.append((distinct[of_group], members))
    return plan


def _gathered(array: np.ndarray, members: list[np.ndarray], rows: int) -> np.ndarray:
    """Rows ``[N, ...]`` as ``[G, rows, ...]``, padded, but no longer than need be."""
    batch = np.zeros((len(members), rows, *array.shape[1:]), array.dtype)
    for group, own in enumerate(members):
        batch[group, : len(own)] = array[own]
    used = np.flatnonzero(batch.any(axis=tuple(range(batch.ndim - 1))))
    return batch[..., : used[-1] + 1]
