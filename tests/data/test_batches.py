"""Grouping rows by condition: what a batch holds, and its order over steps."""

import collections
import itertools
import threading

import numpy as np
import pytest

import hyperx.tasks.toyworld  # noqa: F401 (registers the tasks)
from hyperx.data import batches, examples, vocabularies
from hyperx.data.toyworld import follower as toyworld_follower

LENGTHS = {"condition": 4, "inputs": 5, "prompt": 9, "targets": 6}


def ragged(sequences):
    arrays = [np.array(s, np.int32) for s in sequences]
    return examples.Ragged.join(arrays, [np.array([len(a)]) for a in arrays])


def make(*sizes, rates=(1.0,)):
    """Examples with pools of the given sizes; one tuple of sizes per task.

    The tokens tell the row: row i has inputs [10 + i, 1], pool p has condition [p, 1].
    """
    pools = [size for task in sizes for size in task]
    total = sum(pools)
    pool_of_row = np.repeat(np.arange(len(pools)), pools).astype(np.int32)
    # Interleaved, since a pool's rows need not be adjacent.
    order = np.argsort(np.arange(total) % 3, kind="stable")
    counts = [sum(task) for task in sizes]
    task_of_row = np.repeat(np.arange(len(sizes)), counts).astype(np.int32)
    return examples.Examples(
        tasks=tuple(f"task{i}" for i in range(len(sizes))),
        rates=np.array(rates) / sum(rates),
        task_of_row=task_of_row[order],
        condition_of_row=pool_of_row[order],
        features={
            "condition": ragged([2 + p, 1] for p in range(len(pools))),
            "inputs": ragged([10 + i, 1] for i in range(total)),
            "prompt": ragged([2, 10 + i, 1] for i in range(total)),
            "targets": ragged([10 + i] * (1 + i % 5) + [1] for i in range(total)),
        },
        truncated=dict.fromkeys(LENGTHS, 0),
        longest=dict.fromkeys(LENGTHS, 0),
    )


def group(data, *, groups=4, rows=3, reads="condition", seed=0, **kwargs):
    return batches.GroupedBatches(
        data,
        groups=groups,
        rows=rows,
        reads=reads,
        seed=seed,
        feature_lengths=LENGTHS,
        **kwargs,
    )


def chunks(grouped, count):
    """The first `count` chunks: lists of row numbers."""
    steps = (grouped[step]["encoder_tokens"] for step in itertools.count())
    flat = itertools.chain.from_iterable(steps)
    return [(g[:, 0] - 10).tolist() for g in itertools.islice(flat, count)]


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
        assert left[name].dtype == right[name].dtype


def test_shapes_and_dtypes():
    batch = group(make((5, 7, 2)))[0]
    assert {name: (a.shape, a.dtype.name) for name, a in batch.items()} == {
        "condition_tokens": ((4, 4), "int32"),
        "encoder_tokens": ((4, 3, 5), "int32"),
        "decoder_input_tokens": ((4, 3, 6), "int32"),
        "decoder_target_tokens": ((4, 3, 6), "int32"),
        "decoder_loss_weights": ((4, 3, 6), "float32"),
    }


def test_decoder_arrays_by_hand():
    data = make((1,))
    data.features["targets"] = ragged([[7, 8, 1]])
    batch = group(data, groups=1, rows=1)[0]
    assert batch["decoder_target_tokens"].tolist() == [[[7, 8, 1, 0, 0, 0]]]
    assert batch["decoder_input_tokens"].tolist() == [[[0, 7, 8, 1, 0, 0]]]
    assert batch["decoder_loss_weights"].tolist() == [[[1, 1, 1, 0, 0, 0]]]


def test_rows_of_a_group_share_the_condition_and_their_targets():
    data = make((5, 7, 2))
    grouped = group(data)
    for step in range(6):
        batch = grouped[step]
        numbers = batch["encoder_tokens"][:, :, 0] - 10
        conditions = 2 + data.condition_of_row[numbers]
        assert (conditions == batch["condition_tokens"][:, :1]).all()
        targets = batch["decoder_target_tokens"][:, :, 0]
        assert (targets == numbers + 10).all()


@pytest.mark.parametrize("reads", ["condition", "prompt", "inputs"])
def test_every_row_appears_in_every_epoch(reads):
    data = make((5, 7, 2, 1))
    grouped = group(data, reads=reads)
    assert grouped.chunks_per_epoch == (7 if reads == "condition" else 5)
    column = 1 if reads == "prompt" else 0
    size = grouped.chunks_per_epoch
    seen = [grouped[step]["encoder_tokens"][:, :, column] for step in range(3 * size)]
    flat = np.concatenate(seen) - 10
    for epoch in range(12):
        rows = flat[epoch * size : (epoch + 1) * size]
        assert {*rows.ravel()} == set(range(15))


def test_only_the_last_chunk_of_a_pool_wraps_round():
    drawn = chunks(group(make((5, 7, 2, 1))), 7)
    times = collections.Counter(itertools.chain.from_iterable(drawn))
    pool = make((5, 7, 2, 1)).condition_of_row
    # Filling up to multiples of 3: 5 -> 6, 7 -> 9, 2 -> 3, 1 -> 3.
    spare = [sum(n for row, n in times.items() if pool[row] == p) for p in range(4)]
    assert spare == [6, 9, 3, 3]
    assert all(n == 1 or pool[row] == 3 or n == 2 for row, n in times.items())


def test_epochs_and_seeds_differ():
    data = make((30, 30))
    first, second = np.split(np.array(chunks(group(data), 40)), 2)
    assert first.tolist() != second.tolist()
    assert first.tolist() != chunks(group(data, seed=1), 20)


@pytest.mark.parametrize("reads", ["condition", "prompt"])
def test_batches_are_a_function_of_the_step(reads):
    data = make((5, 7, 2), (4, 9), rates=(1.0, 2.0))
    forward, fresh = group(data, reads=reads), group(data, reads=reads)
    forward = [forward[step] for step in range(12)]
    for step in reversed(range(12)):
        assert_equal(forward[step], fresh[step])


def test_processes_share_the_global_batch():
    data = make((5, 7, 2), (4, 9), rates=(1.0, 2.0))
    whole = group(data)
    # As devices may lie in a mesh: a process need not hold neighbouring groups.
    shares = [[0, 3], [1, 2]]
    halves = [group(data, share=share) for share in shares]
    for step in range(8):
        expected = whole[step]
        for half, share in zip(halves, shares, strict=True):
            assert_equal({k: v[share] for k, v in expected.items()}, half[step])


@pytest.mark.parametrize("rates", [(1.0, 1.0), (1.0, 3.0), (9.0, 1.0)])
@pytest.mark.parametrize("reads", ["condition", "inputs"])
def test_mixture_respects_rates(rates, reads):
    data = make((6,) * 10, (9,) * 20, rates=rates)
    grouped = group(data, reads=reads)
    drawn = chunks(grouped, 8 * grouped.chunks_per_epoch)
    tasks = data.task_of_row[np.array(drawn)]
    assert (tasks == tasks[:, :1]).all()
    assert np.mean(tasks == 1) == pytest.approx(data.rates[1], abs=0.02)
    # Both tasks are spread over the epoch, and none of their rows is forgotten.
    assert len({*tasks[:20, 0]}) == 2
    assert {*np.ravel(drawn)} == set(range(len(data)))


def test_equal_rates_repeat_the_small_task_evenly():
    data = make((3,) * 4, (3,) * 36, rates=(1.0, 1.0))
    drawn = chunks(group(data), 40)
    small = [row for chunk in drawn for row in chunk if data.task_of_row[row] == 0]
    assert set(collections.Counter(small).values()) == {5}


def test_a_batch_may_exceed_the_epoch():
    drawn = chunks(group(make((3,)), groups=6), 6)
    assert all(sorted(chunk) == [0, 1, 2] for chunk in drawn)


def test_prefetch_yields_the_same_batches():
    grouped = group(make((5, 7, 2)))
    fetched = list(batches.prefetch(grouped, 3, 9))
    assert len(fetched) == 6
    for step, batch in enumerate(fetched, start=3):
        assert_equal(batch, grouped[step])
    assert list(batches.prefetch(grouped, 3, 3)) == []


class Failing:
    """Batches that break at step 2."""

    def __getitem__(self, step):
        if step == 2:
            raise RuntimeError("no batch 2")
        return {"step": np.array(step)}


def test_prefetch_surfaces_exceptions_in_their_place():
    fetched = batches.prefetch(Failing(), 0, 5)
    assert [next(fetched)["step"], next(fetched)["step"]] == [0, 1]
    with pytest.raises(RuntimeError, match="no batch 2"):
        next(fetched)


def test_prefetch_leaves_no_thread():
    fetched = batches.prefetch(group(make((5,))), 0, 1000)
    next(fetched)
    fetched.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_batches_of_a_registered_task_can_be_followed():
    lengths = {"condition": 18, "inputs": 6, "targets": 8}
    data = examples.load("toyworld_compose", "test", feature_lengths=lengths)
    batch = batches.GroupedBatches(
        data, groups=8, rows=4, feature_lengths=lengths, reads="condition", seed=0
    )[0]
    decode = vocabularies.get("toyworld").decode
    for g, r in itertools.product(range(8), range(4)):
        condition = decode(batch["condition_tokens"][g].tolist())
        inputs = decode(batch["encoder_tokens"][g, r].tolist())
        targets = decode(batch["decoder_target_tokens"][g, r].tolist())
        assert toyworld_follower.follow(condition, inputs) == targets


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(reads="targets"), "got 'targets'"),
        (dict(rows=0), "rows=0"),
        (dict(share=[0, 4]), r"the 4 groups of a batch, got share=\[0, 4\]"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        group(make((5,)), **change)


def test_refuses_unsuitable_examples():
    data = make((5,))
    with pytest.raises(ValueError, match="at least one row, got none"):
        group(make(()))
    data.features["inputs"] = ragged([[9] * 6] * 5)
    with pytest.raises(ValueError, match="at most 5 tokens.*up to 6"):
        group(data)
    del data.features["condition"]
    with pytest.raises(ValueError, match="expected feature 'condition'"):
        group(data)
    with pytest.raises(IndexError, match="got -1"):
        group(make((5,)))[-1]


def test_extra_features_by_row_and_by_group():
    data = make((5, 7, 2))
    data.features["other_condition"] = ragged([30 + i, 1] for i in range(14))
    lengths = LENGTHS | {"other_condition": 4}
    extra = ("prompt", "other_condition")

    def grouped(extra):
        return batches.GroupedBatches(
            data,
            groups=4,
            rows=3,
            reads="condition",
            seed=0,
            feature_lengths=lengths,
            extra=extra,
        )

    batch = grouped(extra)[1]
    plain = grouped(())[1]
    assert_equal({name: batch[name] for name in plain}, plain)
    assert batch.keys() - plain.keys() == {"prompt_tokens", "other_condition_tokens"}
    row = batch["encoder_tokens"][..., 0] - 10
    np.testing.assert_array_equal(batch["prompt_tokens"][..., 1], row + 10)
    assert batch["prompt_tokens"].shape == (4, 3, 9)
    np.testing.assert_array_equal(batch["other_condition_tokens"][:, 0], row[:, 0] + 30)
    assert batch["other_condition_tokens"].shape == (4, 4)
    with pytest.raises(ValueError, match="expected feature 'other_condition'.*extra="):
        group(make((1,)), extra=("other_condition",))
