"""Caches of tasks: seqio reads them as it reads the data; they survive being killed."""

import json
import pathlib

import numpy as np
import pytest
import seqio
import tensorflow as tf

from hyperx.data import cache, examples, vocabularies

LENGTHS = {"inputs": 8, "targets": 8}
MANY = 600  # more than share a file here
NAMES = ("cache_small", "cache_many")


class Source:
    """Counts how often it is read; breaks at a row if told to."""

    def __init__(self, rows):
        self.rows, self.read, self.broken_at = rows, 0, None

    def make(self):
        self.read += 1
        for number in range(self.rows):
            if number == self.broken_at:
                raise RuntimeError("killed")
            yield {
                "inputs": f"{number}",
                "targets": "x" * (number % 4),
                "id": f"row {number}",
                "choices": ["c" * i + "\0" for i in range(2 + number % 3)],
                "answer": number % 2,
                "weight": number / 2,
                "right": number % 2 == 0,
            }

    def dataset(self, split, shuffle_files, seed=None):
        text, texts = tf.TensorSpec([], tf.string), tf.TensorSpec([None], tf.string)
        spec = dict.fromkeys(("inputs", "targets", "id"), text)
        spec |= {"choices": texts, "answer": tf.TensorSpec([], tf.int32)}
        spec["weight"] = tf.TensorSpec([], tf.float32)
        spec["right"] = tf.TensorSpec([], tf.bool)
        return tf.data.Dataset.from_generator(self.make, output_signature=spec)


def ragged_choices(dataset):
    """Adds codes of the choices, which differ in number and length."""
    return dataset.map(
        lambda row: (
            row | {"choice_codes": tf.strings.unicode_decode(row["choices"], "UTF-8")}
        )
    )


def add(name, source, *, vocabulary=None, placeholder=True):
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    feature = seqio.Feature(vocabulary or vocabularies.get("bytes"), add_eos=True)
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(source.dataset, splits=["train", "test"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            ragged_choices,
            *([seqio.CacheDatasetPlaceholder()] if placeholder else []),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features=dict.fromkeys(LENGTHS, feature),
        shuffle_buffer_size=100,
    )
    return seqio.TaskRegistry.get(name)


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(cache, "_SMALL", 100)
    folders = list(seqio.get_global_cache_dirs())
    yield
    seqio.set_global_cache_dirs(folders)
    for name in NAMES:
        if name in seqio.TaskRegistry.names():
            seqio.TaskRegistry.remove(name)
    if "cache_mixture" in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove("cache_mixture")


def write(name, folder, *splits):
    return list(cache.write_all(name, folder, splits, progress=False))


def rows(task, **options):
    return list(task.get_dataset(None, "train", shuffle=False, **options))


@pytest.mark.parametrize(("count", "files"), [(20, 1), (MANY, 16)])
def test_seqio_reads_the_cache_as_it_reads_the_data(tmp_path, count, files):
    task = add("cache_small", Source(count))
    assert write("cache_small", tmp_path, "train") == [("cache_small", "train", count)]
    assert len(list(tmp_path.glob("cache_small/train.tfrecord-*-of-*"))) == files
    seqio.add_global_cache_dirs([str(tmp_path)])
    read, cached = rows(task), rows(task, use_cached=True)
    assert len(read) == len(cached) == count
    for expected, row in zip(read, cached, strict=True):
        assert expected.keys() == row.keys()
        for name, value in expected.items():
            assert value.dtype == row[name].dtype
            assert type(value) is type(row[name])
            if isinstance(value, tf.RaggedTensor):
                assert value.to_list() == row[name].to_list()
            else:
                np.testing.assert_array_equal(value.numpy(), row[name].numpy())


def test_training_reads_the_same_rows_from_the_cache(tmp_path):
    add("cache_many", Source(MANY))
    plain = examples.load("cache_many", "train", feature_lengths=LENGTHS)
    write("cache_many", tmp_path)
    add("cache_many", source := Source(MANY))
    cached = examples.load(
        "cache_many",
        "train",
        feature_lengths=LENGTHS,
        use_cached=True,
        cache_dir=tmp_path,
    )
    assert source.read == 0
    for name in LENGTHS:
        left, right = plain.features[name], cached.features[name]
        np.testing.assert_array_equal(left.tokens, right.tokens)
        np.testing.assert_array_equal(left.offsets, right.offsets)


def test_what_is_told_of_a_split(tmp_path):
    task = add("cache_small", Source(6))
    write("cache_small", tmp_path, "train")
    folder = pathlib.Path(cache.place_of(task, tmp_path))
    assert {path.name for path in folder.iterdir()} == {
        "COMPLETED",
        "info.train.json",
        "stats.train.json",
        "train.tfrecord-00000-of-00001",
    }
    # Targets of 0, 1, 2, 3, 0 and 1 bytes; ends of sequence come later.
    assert json.loads((folder / "stats.train.json").read_text()) == {
        "examples": 6,
        "inputs_tokens": 6,
        "inputs_max_tokens": 1,
        "targets_tokens": 7,
        "targets_max_tokens": 3,
    }
    info = json.loads((folder / "info.train.json").read_text())
    assert info["num_shards"] == 1
    assert info["features"]["targets"] == {"shape": [None], "dtype": "int32"}
    assert info["features"]["right"] == {"shape": [], "dtype": "bool"}
    assert info["features"]["choice_codes"]["shape"] == [None, None]
    seqio.add_global_cache_dirs([str(tmp_path)])
    assert seqio.mixing_rate_num_examples(task, maximum=4) == 4
    assert seqio.mixing_rate_num_examples(task) == 6


def test_what_is_finished_stays_and_what_was_begun_is_begun_anew(tmp_path):
    sources = {name: Source(MANY) for name in NAMES}
    for name, source in sources.items():
        add(name, source)
    seqio.MixtureRegistry.add("cache_mixture", NAMES, default_rate=1.0)
    small = sources["cache_small"]  # the second by name
    small.broken_at = MANY - 1
    with pytest.raises(ValueError, match="cache_small, split 'train': .*killed"):
        write("cache_mixture", tmp_path)
    assert (tmp_path / "cache_many" / "COMPLETED").exists()
    begun = {path.name for path in (tmp_path / "cache_small").iterdir()}
    assert len(begun) == 16
    assert all(name.endswith(".partial") for name in begun)
    # Files of a time when there were fewer rows would be read too.
    (tmp_path / "cache_small" / "train.tfrecord-00000-of-00001").touch()
    small.broken_at = None
    assert write("cache_mixture", tmp_path) == [
        ("cache_many", "train", None),
        ("cache_many", "test", None),
        ("cache_small", "train", MANY),
        ("cache_small", "test", MANY),
    ]
    assert [count for _, _, count in write("cache_mixture", tmp_path)] == [None] * 4
    assert (sources["cache_many"].read, small.read) == (2, 3)
    names = {path.name for path in (tmp_path / "cache_small").iterdir()}
    assert len(names) == 2 * 16 + 5
    assert not [name for name in names if "partial" in name or "of-00001" in name]


def test_splits_may_follow(tmp_path):
    add("cache_small", Source(3))
    assert write("cache_small", tmp_path, "test") == [("cache_small", "test", 3)]
    with pytest.raises(ValueError, match="expected split 'train' in the cache"):
        examples.load(
            "cache_small",
            "train",
            feature_lengths=LENGTHS,
            use_cached=True,
            cache_dir=tmp_path,
        )
    assert write("cache_small", tmp_path) == [
        ("cache_small", "train", 3),
        ("cache_small", "test", None),
    ]


def test_another_vocabulary_is_refused(tmp_path):
    add("cache_small", Source(3))
    write("cache_small", tmp_path)
    task = add("cache_small", Source(3), vocabulary=seqio.ByteVocabulary(7))
    message = "of 266 ids.* got a cache of .*of 384 ids"
    with pytest.raises(ValueError, match=message):
        write("cache_small", tmp_path)
    seqio.add_global_cache_dirs([str(tmp_path)])
    with pytest.raises(ValueError, match=message):
        cache.check(task, "train")


def test_refuses(tmp_path):
    task = add("cache_small", Source(0))
    with pytest.raises(ValueError, match="expected rows in cache_small, .*'train'"):
        write("cache_small", tmp_path)
    with pytest.raises(ValueError, match="expected a cache of cache_small, from"):
        cache.check(task, "train")
    with pytest.raises(ValueError, match="got 'dev'"):
        write("cache_small", tmp_path, "dev")
    with pytest.raises(FileNotFoundError, match="expected a folder of caches"):
        cache.use(tmp_path / "nowhere")
    source = Source(3)
    task = add("cache_many", source, placeholder=False)
    seqio.MixtureRegistry.add("cache_mixture", NAMES, default_rate=1.0)
    for refused in (
        lambda: write("cache_mixture", tmp_path),
        lambda: cache.check(task, "train"),
    ):
        with pytest.raises(ValueError, match="CacheDatasetPlaceholder.*cache_many"):
            refused()
    assert source.read == 0


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    add("cache_small", Source(3))
    writer = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: writer("/dev/full"))
    with pytest.raises(OSError, match="write a cache, got: .*No space left on device"):
        write("cache_small", tmp_path)
    assert not (tmp_path / "cache_small" / "info.train.json").exists()
