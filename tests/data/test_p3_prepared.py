"""P3 that TensorFlow Datasets has prepared reads as P3's own files do."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from pyarrow import parquet

from hyperx.data.p3 import directories

PLAIN = [("in 0", "out 0"), ("in é", "out 1")]
# example, choice, input, target, right
RANKED = [(0, 0, "a", "x", True), (0, 1, "a", "y", False)]
RANKED += [(1, 0, "b", "x", False), (1, 1, "b", "y", True)]


def columns(ranked):
    if not ranked:
        inputs, targets = zip(*PLAIN, strict=True)
        return {"inputs_pretokenized": inputs, "targets_pretokenized": targets}
    examples, numbers, inputs, targets, right = zip(*RANKED, strict=True)
    return {
        "idx": list(zip(examples, numbers, strict=True)),
        "inputs_pretokenized": inputs,
        "targets_pretokenized": targets,
        "is_correct": right,
    }


def prepare(folder, config, ranked):
    """Writes a configuration as TensorFlow Datasets does."""
    texts = {name: tfds.features.Text() for name in columns(False)}
    if ranked:
        idx = tfds.features.Sequence(tf.int32)
        texts |= {"idx": idx, "is_correct": tfds.features.Scalar(tf.bool)}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="p3",
        config=config,
        version="1.0.0",
        features=tfds.features.FeaturesDict(texts),
        split_datasets={
            "train": tf.data.Dataset.from_tensor_slices(
                {name: np.array(values) for name, values in columns(ranked).items()}
            )
        },
        data_dir=folder,
        disable_shuffling=True,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same configurations: P3's files, and prepared ones."""
    own, prepared = (tmp_path_factory.mktemp(name) for name in ("own", "prepared"))
    for config, ranked in (("imdb_good", False), ("imdb_good_score_eval", True)):
        prepare(prepared, config, ranked)
        (own / config).mkdir()
        table = pa.table({name: list(v) for name, v in columns(ranked).items()})
        parquet.write_table(table, own / config / "train-00000-of-00001.parquet")
    return own, prepared


def test_prepared_and_own_files_read_alike(folders):
    own, prepared = folders
    expected = directories.open_directory(own)
    got = directories.open_directory(f"tfds:{prepared}")
    assert got.splits == expected.splits
    for name in expected.splits:
        assert got.read(name, "train") == expected.read(name, "train")
    assert expected.read("imdb_good", "train")[1].inputs == "in é"


def test_a_folder_without_prepared_data_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected configurations of P3"):
        directories.open_directory(f"tfds:{tmp_path}")
