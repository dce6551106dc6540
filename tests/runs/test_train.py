"""What a run is trained on; whole runs are in tests/integration."""

import pytest

from hyperx.runs.train import TrainingData


def data(**fields):
    given = dict(mixture_or_task_name="t", feature_lengths={}, batch_size=8)
    return TrainingData(**(given | fields))


def test_groups_are_rows_apart():
    assert data(rows=2).groups == 4
    with pytest.raises(ValueError, match="a multiple of ROWS=3, got 8"):
        _ = data(rows=3).groups
