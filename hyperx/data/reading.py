"""Tasks and mixtures of seqio's registries, read once, in order and whole."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

_TASK = "task"  # an example may tell its task, where a seqio task holds several
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Sequences:
    """One feature of consecutive rows, as read."""

    tokens: np.ndarray  # [total] int32
    lengths: np.ndarray  # [N] int64
    eos: int | None  # the EOS id, if the feature ends in one

    @property
    def empty(self) -> bool:
        """Whether no row has anything but its end of sequence."""
        return not (self.lengths > (self.eos is not None)).any()


def subtasks(name: str, split: str | None = None) -> list[seqio.Task]:
    """The tasks of a mixture, by name, or of a task, itself, that have a split.

    Raises:
      ValueError: the name is not registered, or none of them has the split.
    """
    provider = _provider(name)
    tasks = seqio.get_subtasks(provider)
    found = [task for task in tasks if split is None or split in task.splits]
    if not found:
        raise ValueError(
            f"expected a split of {name} ({sorted(provider.splits)}), got {split!r}"
        )
    return found


def mixing_rates(name: str, tasks: Sequence[seqio.Task]) -> np.ndarray:
    """The shares of `tasks` in a mixture (1 for a task itself), which sum to 1.

    Raises:
      ValueError: a rate cannot be computed, or is no rate.
    """
    provider = _provider(name)
    if not isinstance(provider, seqio.Mixture):
        return np.ones(1)
    rates = np.array([_rate(provider, task) for task in tasks])
    wrong = ~np.isfinite(rates) | (rates < 0)
    if wrong.any() or not rates.sum():
        number = int(wrong.argmax())
        raise ValueError(
            f"expected mixing rates of {name} of at least 0, and one above, got "
            f"{rates[number]} for {tasks[number].name}"
        )
    return rates / rates.sum()


def _rate(mixture: seqio.Mixture, task: seqio.Task) -> float:
    try:
        return float(mixture.get_rate(task))
    except TypeError as error:  # What seqio's rates make of an unknown number.
        raise ValueError(
            f"expected a mixing rate of {task.name} in {mixture.name}, got: {error}; a "
            "rate by the number of examples needs a source with num_input_examples, or "
            "a cache (hyperx cache)"
        ) from error


def _provider(name: str) -> seqio.Task | seqio.Mixture:
    known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
    if name not in known:
        similar = " or ".join(difflib.get_close_matches(name, known, n=5))
        raise ValueError(
            f"expected a task or mixture that is registered ({len(known)} are), got "
            f"{name!r}" + (f"; did you mean {similar}?" if similar else "")
        )
    return seqio.get_mixture_or_task(name)


def read(
    task: seqio.Task,
    split: str,
    features: Iterable[str],
    *,
    use_cached: bool = False,
    rows: int = -1,
) -> Iterator[tuple[list[str], dict[str, Sequences]]]:
    """Yields the rows of a task, some at a time, in order and uncut.

    Args:
      task: to read.
      split: of it.
      features: what to read of each row.
      use_cached: read seqio's cache.
      rows: how many to read; -1 for all.

    Yields:
      What task each row tells: its column `task`, or else the name of the seqio task;
      and the rows by feature.

    Raises:
      ValueError: a feature is missing, or the data are at fault.
    """
    features = tuple(features)
    missing = set(features) - set(task.output_features)
    if missing:
        raise ValueError(
            f"expected features among {sorted(task.output_features)} of task "
            f"{task.name}, got {sorted(missing)}"
        )
    dataset = dataset_of(task, split, use_cached=use_cached).take(rows)

    @tf.autograph.experimental.do_not_convert  # Traced for each of hundreds of tasks.
    def select(row):
        return {name: row[name] for name in features}, row.get(_TASK, task.name)

    eos = {name: _eos_id(task.output_features[name]) for name in features}
    batches = dataset.map(select).ragged_batch(_ROWS).prefetch(1)
    for batch, told in iterate(batches, f"{task.name}, split {split!r}"):
        yield (
            [name.decode() for name in told.numpy()],
            {name: _sequences(value, eos[name]) for name, value in batch.items()},
        )


def _sequences(value: tf.Tensor | tf.RaggedTensor, eos: int | None) -> Sequences:
    if isinstance(value, tf.Tensor):  # The source tells that all are of one length.
        value = tf.RaggedTensor.from_tensor(value)
    tokens = value.flat_values.numpy().astype(np.int32)
    return Sequences(tokens, np.diff(value.row_splits.numpy()), eos)


def dataset_of(
    task: seqio.Task, split: str, *, use_cached: bool = False
) -> tf.data.Dataset:
    """One pass over a task in its own order, nothing cut, nothing kept in memory."""
    return task.get_dataset(
        None,
        split,
        use_cached=use_cached,
        shuffle=False,
        num_epochs=1,
        trim_output_features=False,
        try_in_mem_cache=False,
    )


def iterate(dataset: tf.data.Dataset, place: str) -> Iterator[Any]:
    """Yields what is in a data set; raises ValueError where its making fails."""
    try:
        yield from dataset
    except tf.errors.OpError as error:
        # It begins with the name of an operation and may end with a traceback.
        message = re.sub(r"^\{\{.*?\}\} ", "", error.message).partition("\n")[0]
        raise ValueError(f"{place}: {message}") from error


def _eos_id(feature: seqio.Feature) -> int | None:
    return feature.vocabulary.eos_id if feature.add_eos else None
