"""Loading seqio tasks and mixtures into memory, and what truncation does."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

import hyperx.tasks.toyworld as tasks
from hyperx.data import examples, vocabularies

LENGTHS = {"condition": 8, "inputs": 6, "prompt": 14, "targets": 8}


@pytest.fixture(scope="module")
def loaded():
    return examples.load("toyworld", "test", feature_lengths=LENGTHS)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """A mixture of two worlds, one of them with validation only; an empty task."""
    rates = [("toyworld", 3.0), ("toyworld_tasks", lambda task: 1.0)]
    seqio.MixtureRegistry.add("examples_mixture", rates)
    vocabulary = vocabularies.get("toyworld")
    seqio.TaskRegistry.add(
        "examples_empty",
        source=seqio.FunctionDataSource(_nothing, splits=["train"]),
        preprocessors=[seqio.preprocessors.tokenize],
        output_features={"targets": seqio.Feature(vocabulary)},
    )
    yield
    seqio.MixtureRegistry.remove("examples_mixture")
    seqio.TaskRegistry.remove("examples_empty")


def _nothing(split, shuffle_files):
    return tf.data.Dataset.from_tensor_slices({"targets": tf.zeros([0], tf.string)})


def test_rows_equal_the_task(loaded):
    dataset = seqio.get_mixture_or_task("toyworld").get_dataset(
        None, "test", shuffle=False
    )
    rows = list(dataset.as_numpy_iterator())
    assert len(loaded) == len(rows) == 512
    for i, row in enumerate(rows):
        for name in ("inputs", "prompt", "targets"):
            np.testing.assert_array_equal(loaded.features[name][i], row[name])
        condition = loaded.features["condition"][loaded.condition_of_row[i]]
        np.testing.assert_array_equal(condition, row["condition"])


def test_equal_conditions_are_kept_once(loaded):
    told = {row.task.condition for row in tasks.rows("toyworld", "test")}
    assert len(loaded.features["condition"]) == len(told)
    assert loaded.report()["conditions"] == len(told)


def test_report_counts_what_was_cut(loaded):
    lengths = np.diff(loaded.features["inputs"].offsets)
    assert loaded.report()["inputs"] == {"truncated": 0, "max_length": 6}
    short = examples.load("toyworld", "test", feature_lengths={"inputs": 5})
    assert short.report() == {
        "rows": 512,
        "tasks": 1,
        "inputs": {"truncated": int((lengths > 5).sum()), "max_length": 6},
    }
    cut = short.report()["inputs"]["truncated"]
    assert short.summary() == (
        f"512 rows; cut to length: {cut} inputs (longest 6 tokens)"
    )
    assert loaded.summary().endswith("conditions; cut to length: none")
    assert short.features["inputs"].max_length == 5
    for i in range(len(short)):
        assert short.features["inputs"][i][-1] == 1


def test_truncate_by_hand():
    tokens = np.array([5, 6, 7, 1, 8, 1, 9, 9, 9], np.int32)
    kept, lengths = examples.truncate(tokens, np.array([4, 2, 3]), 2, eos=1)
    assert lengths.tolist() == [2, 2, 2]
    # The third did not end in EOS, so it does not get one.
    assert kept.tolist() == [5, 1, 8, 1, 9, 9]
    assert tokens.tolist() == [5, 6, 7, 1, 8, 1, 9, 9, 9]
    kept, _ = examples.truncate(tokens, np.array([4, 2, 3]), 2, eos=None)
    assert kept.tolist() == [5, 6, 8, 1, 9, 9]


def test_truncate_equals_seqio():
    short = {"condition": 3, "inputs": 4, "prompt": 7, "targets": 4}
    ours = examples.load("toyworld", "test", feature_lengths=short)
    dataset = seqio.get_mixture_or_task("toyworld").get_dataset(
        short, "test", shuffle=False
    )
    for i, row in enumerate(dataset.as_numpy_iterator()):
        for name in ("inputs", "prompt", "targets"):
            np.testing.assert_array_equal(ours.features[name][i], row[name])


def test_ragged_pads():
    ragged = examples.Ragged.join(
        [np.array([1, 2, 3], np.int32), np.array([4], np.int32)],
        [np.array([2, 0, 1]), np.array([1])],
    )
    assert len(ragged) == 4
    assert ragged.max_length == 2
    assert ragged.pad(np.array([[0, 1], [3, 2]]), 3).tolist() == [
        [[1, 2, 0], [0, 0, 0]],
        [[4, 0, 0], [3, 0, 0]],
    ]
    with pytest.raises(IndexError, match="below 4, got 4"):
        ragged[4]


def test_mixture_keeps_rates_and_tasks_apart():
    mixed = examples.load("examples_mixture", "test", feature_lengths=LENGTHS)
    assert mixed.tasks == ("toyworld", "toyworld_tasks")
    np.testing.assert_allclose(mixed.rates, [0.75, 0.25])
    assert np.bincount(mixed.task_of_row).tolist() == [512, 512]
    split = mixed.condition_of_row[:512], mixed.condition_of_row[512:]
    assert not {*split[0]} & {*split[1]}


@pytest.mark.parametrize(
    ("name", "split", "feature", "message"),
    [
        ("toyworld", "dev", "inputs", "got 'dev'"),
        ("toyworld", "test", "choices", "got .*choices"),
        ("examples_empty", "train", "targets", "expected rows in split 'train'"),
    ],
)
def test_refuses(name, split, feature, message):
    with pytest.raises(ValueError, match=message):
        examples.load(name, split, feature_lengths={feature: 8})


def test_tasks_in_the_place_of_conditions():
    """What an example tells in `task`, by its number."""
    names = tasks.task_names("toyworld_tasks")
    loaded = examples.load(
        "toyworld_tasks", "test", feature_lengths=LENGTHS, tasks=names
    )
    numbers = loaded.features["condition"].pad(loaded.condition_of_row, 1)[:, 0]
    told = [row.task.condition for row in tasks.rows("toyworld_tasks", "test")]
    assert [names[number] for number in numbers] == told
    assert tasks.task_names("toyworld") == ("sub", "swap", "drop", "app", "pre")
    with pytest.raises(ValueError, match="got one of 'task1'"):
        examples.load(
            "toyworld_tasks", "test", feature_lengths=LENGTHS, tasks=names[:1]
        )
