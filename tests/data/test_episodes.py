"""Episodes: every row asked once a pass, shown rows distinct and never asked."""

import collections

import numpy as np
import pytest

from hyperx.data import episodes as episodes_lib


def draw(count, **options):
    options = {"shots": 3, "queries": 2, "seed": 0} | options
    return [
        (queries.tolist(), support.tolist())
        for queries, support in episodes_lib.episodes(count, **options)
    ]


def test_every_row_is_asked_once_a_pass_and_never_shown_to_itself():
    drawn = draw(11, passes=3)
    assert [len(queries) for queries, _ in drawn] == [2, 2, 2, 2, 2, 1] * 3
    for turn in range(3):
        asked = [i for queries, _ in drawn[6 * turn :][:6] for i in queries]
        assert sorted(asked) == list(range(11))
    for queries, support in drawn:
        assert len(set(support)) == 3
        assert not set(support) & set(queries)
        assert set(support) <= set(range(11))


def test_seed_pass_and_chunk_alone_decide():
    assert draw(11, passes=2) == draw(11, passes=2) != draw(11, passes=2, seed=1)
    assert draw(11, passes=2)[:6] == draw(11)
    first, second = draw(11, passes=2)[:6], draw(11, passes=2)[6:]
    assert first != second
    # The queries of a chunk do not depend on how many are shown.
    assert [q for q, _ in draw(11, shots=5)] == [q for q, _ in draw(11)]


def test_support_is_uniform_over_the_other_rows():
    shown = collections.Counter()
    for seed in range(400):
        for queries, support in draw(6, queries=2, shots=2, seed=seed):
            shown.update((q, s) for q in queries for s in support)
    assert len(shown) == 30  # Every row is shown beside every other, never itself.
    # 400 seeds: of 4 rows outside the chunk 2 are shown; a given other row is outside
    # the chunk in 4/5 of the cases, so 400 * 4/5 * 1/2 = 160 with a deviation near 10.
    assert 120 < min(shown.values()) <= max(shown.values()) < 200


def test_fewer_are_shown_where_there_are_no_more():
    assert [len(support) for _, support in draw(4, shots=16)] == [2, 2]
    assert draw(1) == [([0], [])]
    assert [len(support) for _, support in draw(3, queries=8)] == [0]
    assert [support for _, support in draw(4, shots=0)] == [[], []]


def test_large_tasks_are_cheap_and_int64():
    queries, support = next(
        episodes_lib.episodes(16_384, shots=16, queries=1, seed=0, passes=1)
    )
    assert queries.dtype == support.dtype == np.int64
    assert (queries.shape, support.shape) == ((1,), (16,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "expected count of at least 1, got 0"),
        ({"shots": -1}, "expected shots of at least 0, got -1"),
        ({"queries": 0}, "expected queries of at least 1, got 0"),
        ({"seed": -1}, "expected seed of at least 0, got -1"),
        ({"passes": 0}, "expected passes of at least 1, got 0"),
    ],
)
def test_misuse_is_told_at_the_call(options, message):
    arguments = {"count": 5, "shots": 1, "queries": 1, "seed": 0} | options
    with pytest.raises(ValueError, match=message):
        episodes_lib.episodes(arguments.pop("count"), **arguments)
