"""seqio's offline cache of tasks, written without Beam.

    <folder>/<task>/<split>.tfrecord-00000-of-00016  examples, as they are when they
                                                     reach seqio.CacheDatasetPlaceholder
    <folder>/<task>/stats.<split>.json               numbers of examples and tokens
    <folder>/<task>/info.<split>.json                columns and number of files; last
    <folder>/<task>/COMPLETED                        the task can be read

seqio itself reads it (`use_cached=True`). Examples lie in turns of 16 in the files, so
that seqio, which reads 16 at a time of up to 16 files, gives them in their own order.
"""

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import seqio
import tensorflow as tf
import tqdm

from hyperx.data import reading
from hyperx.data.cache_rows import Rows

_COMPLETED = "COMPLETED"
_VOCABULARIES = "vocabularies"  # in the info, beside what seqio reads
_FILES, _TURN = 16, 16  # cycle_length and block_length of seqio's reader
_SMALL = 4096  # examples that share one file

PathLike = str | os.PathLike[str]


def use(folder: PathLike | None) -> None:
    """Lets seqio look for caches in a folder, beside others; None changes nothing."""
    if folder is None:
        return
    if not tf.io.gfile.isdir(os.fspath(folder)):
        raise FileNotFoundError(
            "expected a folder of caches (CACHE_DIR), as `hyperx cache` writes them, "
            f"got {os.fspath(folder)}"
        )
    seqio.add_global_cache_dirs([os.fspath(folder)])


def check(task: seqio.Task, split: str) -> None:
    """Checks that a split of a task can be read from a cache.

    Raises:
      ValueError: the task cannot be cached, is not, or was with another vocabulary.
    """
    _check_cacheable(task)
    if task.cache_dir is None:
        folders = ", ".join(seqio.get_global_cache_dirs()) or "no folder (CACHE_DIR)"
        raise ValueError(
            f"expected a cache of {task.name}, from `hyperx cache`, got none in "
            f"{folders}"
        )
    info = _info(task.cache_dir, split)
    if info is None:
        raise ValueError(
            f"expected split {split!r} in the cache of {task.name}, got none in "
            f"{task.cache_dir}"
        )
    _check_vocabularies(task, info, task.cache_dir)


def write(
    task: seqio.Task, split: str, folder: PathLike, *, progress: bool = True
) -> int | None:
    """Writes a split of a task, unless it is there; what was begun is begun anew.

    Args:
      task: to write.
      split: of it.
      folder: of all caches.
      progress: whether to show a bar, if standard error is a terminal.

    Returns:
      The number of examples written; None if they were there.

    Raises:
      ValueError: the task cannot be cached or has no examples, its data are at fault,
        or what is there has another vocabulary.
      OSError: the disk is full, or does not take it.
    """
    _check_cacheable(task)
    if split not in task.splits:
        raise ValueError(
            f"expected a split of {task.name} ({sorted(task.splits)}), got {split!r}"
        )
    place = place_of(task, folder)
    info = _info(place, split)
    if info is not None and (_VOCABULARIES in info or _completed(place)):
        _check_vocabularies(task, info, place)
        return None
    dataset = task.preprocess_precache(task.source.get_dataset(split, shuffle=False))
    bar = tqdm.tqdm(
        reading.iterate(dataset, f"{task.name}, split {split!r}"),
        desc=f"{task.name} {split}",
        unit=" rows",
        disable=None if progress else True,
    )
    rows = Rows(task, split)
    with bar, _disk_errors():
        count = _write_examples(
            map(rows.add, bar), seqio.get_cached_tfrecord_prefix(place, split)
        )
        rows.check()
        info = {
            "num_shards": count,
            "features": rows.columns,
            "seqio_version": seqio.__version__,
            _VOCABULARIES: _vocabularies(task),
        }
        _put(seqio.get_cached_stats_path(place, split), json.dumps(rows.stats))
        _put(seqio.get_cached_info_path(place, split), json.dumps(info, indent=1))
    return rows.stats["examples"]


def write_all(
    name: str, folder: PathLike, splits: Sequence[str] = (), *, progress: bool = True
) -> Iterator[tuple[str, str, int | None]]:
    """Writes the tasks of a mixture, or a task, one split after the other.

    Args:
      name: registered with seqio.
      folder: of all caches.
      splits: to write; all that a task has if there are none.
      progress: as in `write`.

    Yields:
      Task, split and what `write` returned.

    Raises:
      ValueError: before anything is written, if a task cannot be cached or none has a
        split; and as `write`.
    """
    tasks = reading.subtasks(name)
    for split in splits:
        reading.subtasks(name, split)
    for task in tasks:
        _check_cacheable(task)
    for task in tasks:
        chosen = [split for split in task.splits if not splits or split in splits]
        for split in chosen:
            yield task.name, split, write(task, split, folder, progress=progress)
        if chosen and not _completed(place_of(task, folder)):
            with _disk_errors():
                _put(os.path.join(place_of(task, folder), _COMPLETED), "")


def place_of(task: seqio.Task, folder: PathLike) -> str:
    """The folder of a task's cache."""
    return os.path.join(os.fspath(folder), seqio.get_task_dir_from_name(task.name))


def _completed(place: str) -> bool:
    return tf.io.gfile.exists(os.path.join(place, _COMPLETED))


def _write_examples(examples: Iterator[tf.train.Example], prefix: str) -> int:
    """Writes files, which get their names when all are whole; returns how many."""
    tf.io.gfile.makedirs(os.path.dirname(prefix))
    for stale in tf.io.gfile.glob(prefix + "*"):
        tf.io.gfile.remove(stale)
    head = list(itertools.islice(examples, _SMALL + 1))
    count = _FILES if len(head) > _SMALL else 1
    names = [f"{prefix}-{number:05}-of-{count:05}" for number in range(count)]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(tf.io.TFRecordWriter(_partial(name))) for name in names
        ]
        for number, example in enumerate(itertools.chain(head, examples)):
            writers[number // _TURN % count].write(example.SerializeToString())
    for name in names:
        tf.io.gfile.rename(_partial(name), name, overwrite=True)
    return count


def _check_cacheable(task: seqio.Task) -> None:
    if not task.supports_caching:
        raise ValueError(
            "expected a task with seqio.CacheDatasetPlaceholder among its "
            f"preprocessors, got {task.name} without: it is only read as it is"
        )


def _vocabularies(task: seqio.Task) -> dict[str, str]:
    """What tells the vocabulary of each feature from others, wherever its file is."""
    return {
        name: _identity(feature.vocabulary)
        for name, feature in task.output_features.items()
    }


def _identity(vocabulary: seqio.Vocabulary) -> str:
    identity = f"{type(vocabulary).__name__} of {vocabulary.vocab_size} ids"
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        digest = hashlib.sha256(vocabulary.sp_model).hexdigest()
        return f"{identity}, model {digest[:12]}"
    return identity


def _check_vocabularies(task: seqio.Task, info: dict[str, Any], place: str) -> None:
    """Raises ValueError unless a cache has the task's tokens, as far as it tells."""
    ours = _vocabularies(task)
    theirs = info.get(_VOCABULARIES, ours)
    if theirs != ours:
        raise ValueError(
            f"expected tokens of {ours} for {task.name}, got a cache of {theirs} in "
            f"{place}: remove it, or use another folder"
        )


def _info(place: str, split: str) -> dict[str, Any] | None:
    path = seqio.get_cached_info_path(place, split)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def _put(path: str, content: str) -> None:
    """Writes a file whole or not at all, whenever the process is killed."""
    with tf.io.gfile.GFile(_partial(path), "w") as file:
        file.write(content)
    tf.io.gfile.rename(_partial(path), path, overwrite=True)


def _partial(path: str) -> str:
    return path + ".partial"


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Says what TensorFlow could not write as other programs do."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"expected to write a cache, got: {error.message}") from error
