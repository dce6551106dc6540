"""Rows on their way into a cache: what is counted, and what cannot be kept."""

import pytest
import seqio
import tensorflow as tf

from hyperx.data import cache_rows, vocabularies


@pytest.fixture
def task():
    return seqio.Task(
        "cache_rows",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files: None, splits=["train"]
        ),
        output_features={"inputs": seqio.Feature(vocabularies.get("bytes"))},
    )


def test_tokens_are_counted_without_padding_and_end_of_sequence(task):
    rows = cache_rows.Rows(task, "train")
    for tokens in ([5, 6, 1, 0], [5, 1]):
        example = rows.add({"inputs": tf.constant(tokens)})
        assert example.features.feature["inputs"].int64_list.value == tokens
    assert rows.stats == {"examples": 2, "inputs_tokens": 3, "inputs_max_tokens": 2}
    assert rows.columns == {"inputs": {"shape": [None], "dtype": "int32"}}


def test_what_seqio_could_not_read_is_refused(task):
    rows = cache_rows.Rows(task, "train")
    with pytest.raises(ValueError, match="got {'inputs': 'float64'}"):
        rows.add({"inputs": tf.zeros([3], tf.float64)})
    rows.add({"inputs": tf.zeros([3, 2], tf.int32)})
    with pytest.raises(ValueError, match="equal columns .*None, 2.*None, 3"):
        rows.add({"inputs": tf.zeros([3, 3], tf.int32)})
