"""Mixtures of mixtures: who is drawn how often."""

import pytest
import seqio
import tensorflow as tf

from hyperx.data import examples
from hyperx.tasks import mixtures


def task(name, splits):
    feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)

    def dataset(split, shuffle_files, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"targets": ["a", "b"]})

    seqio.TaskRegistry.add(
        name,
        seqio.FunctionDataSource(dataset, splits=splits),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={"targets": feature},
    )


@pytest.fixture(scope="module", autouse=True)
def registered():
    for name, splits in (
        ("mixed_a", ["train", "test"]),
        ("mixed_b", ["train"]),
        ("mixed_asked", ["test"]),
        ("mixed_alone", ["train"]),
    ):
        task(name, splits)
    inner = [("mixed_a", 3), ("mixed_b", 1), ("mixed_asked", 4)]
    seqio.MixtureRegistry.add("mixed_inner", inner)
    yield
    seqio.MixtureRegistry.remove("mixed_inner")
    for name in ("mixed_a", "mixed_b", "mixed_asked", "mixed_alone"):
        seqio.TaskRegistry.remove(name)


def test_members_share_their_rate_among_what_trains():
    for _ in range(2):  # again, if need be
        rates = {"mixed_inner": 2.0, "mixed_alone": 1.0}
        assert mixtures.register("mixed_outer", rates) == ("mixed_outer",)
    lengths = {"targets": 4}
    loaded = examples.load("mixed_outer", "train", feature_lengths=lengths)
    drawn = dict(zip(loaded.tasks, loaded.rates.tolist(), strict=True))
    expected = {"mixed_a": 0.5, "mixed_b": 1 / 6, "mixed_alone": 1 / 3}
    assert drawn == pytest.approx(expected)
    tested = seqio.get_subtasks(seqio.get_mixture_or_task("mixed_outer"))
    tested = {task.name for task in tested if "test" in task.splits}
    assert tested == {"mixed_a", "mixed_asked"}


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"mixed_inner": 1.0, "nowhere": 1.0}, "registered, got 'nowhere'"),
        ({"mixed_inner": 0.0}, "expected positive rates"),
        ({}, "expected positive rates"),
        ({"mixed_inner": 1.0, "mixed_b": 1.0}, r"common tasks, got \['mixed_b'\]"),
    ],
)
def test_what_cannot_be_mixed(rates, message):
    with pytest.raises(ValueError, match=message):
        mixtures.register("mixed_wrong", rates)
