"""Loading seqio tasks and mixtures, where their tokens wait, and what is cut."""

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
    add("examples_empty", {"targets": tf.zeros([0], tf.string)})
    add("examples_silent", {"inputs": ["a", ""], "targets": ["", ""]})
    add("examples_long", {"inputs": ["a " * 100_000, "b"], "targets": ["", "a"]})
    seqio.MixtureRegistry.add("examples_unknown", [("examples_long", by_number)])
    seqio.MixtureRegistry.add("examples_never", [("examples_long", 0.0)])
    yield
    for name in ("mixture", "unknown", "never"):
        seqio.MixtureRegistry.remove(f"examples_{name}")
    for name in ("empty", "silent", "long"):
        seqio.TaskRegistry.remove(f"examples_{name}")


by_number = seqio.mixing_rate_num_examples


def add(name, columns):
    """A task of words, with EOS, whose source does not know its number of rows."""

    def dataset(split, shuffle_files):
        return tf.data.Dataset.from_tensor_slices(columns)

    feature = seqio.Feature(vocabularies.get("toyworld"), add_eos=True)
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=["train"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=dict.fromkeys(columns, feature),
    )


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


def test_truncate_equals_seqio():
    short = {"condition": 3, "inputs": 4, "prompt": 7, "targets": 4}
    ours = examples.load("toyworld", "test", feature_lengths=short)
    dataset = seqio.get_mixture_or_task("toyworld").get_dataset(
        short, "test", shuffle=False
    )
    for i, row in enumerate(dataset.as_numpy_iterator()):
        for name in ("inputs", "prompt", "targets"):
            np.testing.assert_array_equal(ours.features[name][i], row[name])


def test_mixture_keeps_rates_and_tasks_apart():
    mixed = examples.load("examples_mixture", "test", feature_lengths=LENGTHS)
    assert mixed.tasks == ("toyworld", "toyworld_tasks")
    np.testing.assert_allclose(mixed.rates, [0.75, 0.25])
    assert np.bincount(mixed.task_of_row).tolist() == [512, 512]
    split = mixed.condition_of_row[:512], mixed.condition_of_row[512:]
    assert not {*split[0]} & {*split[1]}


@pytest.mark.parametrize(
    ("name", "split", "lengths", "message"),
    [
        ("toywrld", "test", {"inputs": 8}, "got 'toywrld'; did you mean toyworld"),
        ("toyworld", "dev", {"inputs": 8}, "got 'dev'"),
        ("toyworld", "test", {"choices": 8}, "got .*choices"),
        ("toyworld", "test", {"inputs": 0}, "at least 1 .*got 0 for inputs"),
        ("examples_empty", "train", {"targets": 8}, "expected rows .*split 'train'"),
        (
            "examples_silent",
            "train",
            {"inputs": 8, "targets": 8},
            "text in targets of task examples_silent.*nothing in any of its 2 rows",
        ),
        ("examples_unknown", "train", {"inputs": 8}, "rate of examples_long .*cache"),
        ("examples_never", "train", {"inputs": 8}, "one above, got 0.0 for examples_l"),
    ],
)
def test_refuses(name, split, lengths, message):
    with pytest.raises(ValueError, match=message):
        examples.load(name, split, feature_lengths=lengths)


def test_what_is_very_long_is_cut_and_counted():
    lengths = {"inputs": 16, "targets": 4}
    loaded = examples.load("examples_long", "train", feature_lengths=lengths)
    assert loaded.report()["inputs"] == {"truncated": 1, "max_length": 100_001}
    first, second = (loaded.features["inputs"][i].tolist() for i in range(2))
    assert (len(first), first[-1], len(second)) == (16, 1, 2)
    # A row may say nothing, if not all do.
    assert loaded.features["targets"][0].tolist() == [1]


def test_a_fault_of_the_data_tells_the_task():
    add("examples_faulty", {"targets": ["a", "abc"]})  # no word of the vocabulary
    with pytest.raises(ValueError, match="^examples_faulty, split 'train': .*words"):
        examples.load("examples_faulty", "train", feature_lengths={"targets": 4})
    seqio.TaskRegistry.remove("examples_faulty")


def test_features_of_one_static_length():
    feature = seqio.Feature(seqio.PassThroughVocabulary(9), add_eos=False)
    seqio.TaskRegistry.add(
        "examples_static",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files: tf.data.Dataset.from_tensor_slices(
                {"targets": np.arange(6, dtype=np.int32).reshape(2, 3)}
            ),
            splits=["train"],
        ),
        output_features={"targets": feature},
    )
    loaded = examples.load("examples_static", "train", feature_lengths={"targets": 2})
    assert [loaded.features["targets"][i].tolist() for i in (0, 1)] == [[0, 1], [3, 4]]
    seqio.TaskRegistry.remove("examples_static")


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
