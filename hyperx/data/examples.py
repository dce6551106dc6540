"""A seqio task or mixture, tokenised once and kept compactly in memory."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf
import tqdm

CONDITION = "condition"
_TASK = "task"  # an example may tell its task, where a seqio task holds several
_READ_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Token sequences end to end: number i is `tokens[offsets[i] : offsets[i + 1]]`."""

    tokens: np.ndarray  # [total] int32
    offsets: np.ndarray  # [N + 1] int64

    @classmethod
    def join(cls, flats: Sequence[np.ndarray], lengths: Sequence[np.ndarray]):
        """From pieces: flat tokens and the lengths of the sequences within them."""
        offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *flats]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def max_length(self) -> int:
        return int(self.lengths.max(initial=0))

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def pad(self, indices: np.ndarray, length: int) -> np.ndarray:
        """The sequences at `indices` [...], padded with 0: [..., length] int32."""
        padded = np.zeros((indices.size, length), np.int32)
        starts = self.offsets[indices.ravel()].tolist()
        stops = self.offsets[indices.ravel() + 1].tolist()
        for row, start, stop in zip(padded, starts, stops, strict=True):
            row[: stop - start] = self.tokens[start:stop]
        return padded.reshape(*indices.shape, length)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Rows of one or more seqio tasks, in reading order.

    Attributes:
      tasks: names of the seqio tasks.
      rates: mixing rate of each task, summing to 1.
      task_of_row: [rows] int32, index into `tasks`.
      condition_of_row: [rows] int32, index into `features["condition"]`; all 0 if the
        conditions were not loaded.
      features: feature name to its sequences, one per row; but equal conditions of a
        task are kept once.
      truncated: feature name to the number of rows that were longer than allowed.
      longest: feature name to the greatest length before truncation.
    """

    tasks: tuple[str, ...]
    rates: np.ndarray
    task_of_row: np.ndarray
    condition_of_row: np.ndarray
    features: Mapping[str, Ragged]
    truncated: Mapping[str, int]
    longest: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.task_of_row)

    def report(self) -> dict[str, int | dict[str, int]]:
        """Counts for people: rows, conditions, and per feature what happened to it."""
        counts: dict = {"rows": len(self), "tasks": len(self.tasks)}
        if CONDITION in self.features:
            counts["conditions"] = len(self.features[CONDITION])
        for name in self.features:
            counts[name] = {
                "truncated": self.truncated[name],
                "max_length": self.longest[name],
            }
        return counts

    def summary(self) -> str:
        """The report as one line."""
        counts = [f"{len(self):,} rows"]
        if CONDITION in self.features:
            counts.append(f"{len(self.features[CONDITION]):,} conditions")
        cut = [
            f"{number:,} {name} (longest {self.longest[name]:,} tokens)"
            for name, number in self.truncated.items()
            if number
        ]
        return f"{', '.join(counts)}; cut to length: {', '.join(cut) or 'none'}"


def load(
    mixture_or_task_name: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int],
    use_cached: bool = False,
    tasks: Sequence[str] | None = None,
    progress: bool = True,
) -> Examples:
    """Runs a registered seqio task or mixture once and keeps its tokens.

    Tasks are run without a sequence length, so that what is cut can be counted here; a
    sequence that ends in EOS still does after it was cut.

    Args:
      mixture_or_task_name: a name in the seqio registries.
      split: such as "train". Tasks of a mixture that lack it are left out, as in seqio.
      feature_lengths: the features to keep and their greatest lengths, EOS included.
      use_cached: whether to read seqio's cache of the tasks.
      tasks: names of tasks; if given, the condition of a row is the number of its task
        among them, in the place of the feature. A row's task is what the example says
        in `task`, or else the name of the seqio task.
      progress: whether to show a bar, if standard error is a terminal.

    Raises:
      ValueError: a feature is missing, a task is not in `tasks`, or there are no rows.
    """
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    subtasks = seqio.get_subtasks(provider)
    subtasks = [task for task in subtasks if split in task.splits]
    if not subtasks:
        raise ValueError(
            f"expected a split of {mixture_or_task_name} ({sorted(provider.splits)}), "
            f"got {split!r}"
        )
    mixed = isinstance(provider, seqio.Mixture)
    rates = np.array([provider.get_rate(t) if mixed else 1.0 for t in subtasks])
    collector = _Collector(feature_lengths)
    with tqdm.tqdm(
        desc=f"{mixture_or_task_name} {split}",
        unit=" rows",
        disable=None if progress else True,
    ) as bar:
        for index, task in enumerate(subtasks):
            before = collector.rows
            for batch in _read(task, split, feature_lengths, use_cached, tasks):
                bar.update(collector.add(index, batch))
            if collector.rows == before:
                raise ValueError(
                    f"expected rows in split {split!r} of task {task.name}, got none"
                )
    return collector.finish([task.name for task in subtasks], rates)


@dataclasses.dataclass(frozen=True)
class _Sequences:
    """One feature of consecutive rows, as read."""

    tokens: np.ndarray  # [total] int32
    lengths: np.ndarray  # [N] int64
    eos: int | None  # the EOS id, if the feature ends in one


def _read(
    task: seqio.Task,
    split: str,
    names: Iterable[str],
    use_cached: bool,
    tasks: Sequence[str] | None,
) -> Iterator[dict[str, _Sequences]]:
    if tasks is not None:
        names = [name for name in names if name != CONDITION]
    missing = set(names) - set(task.output_features)
    if missing:
        raise ValueError(
            f"expected features among {sorted(task.output_features)} of task "
            f"{task.name}, got {sorted(missing)}"
        )
    eos = {name: _eos_id(task.output_features[name]) for name in names}
    dataset = task.get_dataset(
        None, split, use_cached=use_cached, shuffle=False, num_epochs=1
    )
    dataset = dataset.map(
        lambda row: (
            {name: row[name] for name in eos} | {_TASK: row.get(_TASK, task.name)}
        )
    )
    for batch in dataset.ragged_batch(_READ_ROWS).prefetch(tf.data.AUTOTUNE):
        told = batch.pop(_TASK).numpy()
        read = {
            name: _Sequences(
                value.flat_values.numpy().astype(np.int32),
                np.diff(value.row_splits.numpy()),
                eos[name],
            )
            for name, value in batch.items()
        }
        if tasks is not None:
            numbers = [task_number(name.decode(), tasks) for name in told]
            ones = np.ones(len(numbers), np.int64)
            read[CONDITION] = _Sequences(np.array(numbers, np.int32), ones, None)
        yield read


def task_number(name: str, tasks: Sequence[str]) -> int:
    """The number of a task.

    Raises:
      ValueError: it is none of `tasks`.
    """
    if name not in tasks:
        raise ValueError(
            f"expected rows of the tasks that the model knows (TASKS in gin), {tasks}, "
            f"got one of {name!r}"
        )
    return tasks.index(name)


def _eos_id(feature: seqio.Feature) -> int | None:
    return feature.vocabulary.eos_id if feature.add_eos else None


class _Collector:
    """Gathers the rows of one task after the other."""

    def __init__(self, feature_lengths: Mapping[str, int]):
        self.rows = 0
        self._limits = dict(feature_lengths)
        self._pieces = {name: ([], []) for name in feature_lengths}
        self._truncated = dict.fromkeys(feature_lengths, 0)
        self._longest = dict.fromkeys(feature_lengths, 0)
        self._conditions: dict[tuple[int, bytes], int] = {}
        self._condition_of_row: list[np.ndarray] = []
        self._task_of_row: list[np.ndarray] = []

    def add(self, task: int, batch: Mapping[str, _Sequences]) -> int:
        """Adds consecutive rows of a task; returns how many."""
        for name, read in batch.items():
            limit = self._limits[name]
            self._truncated[name] += int((read.lengths > limit).sum())
            self._longest[name] = max(self._longest[name], int(read.lengths.max()))
            tokens, lengths = truncate(read.tokens, read.lengths, limit, read.eos)
            if name == CONDITION:
                tokens, lengths = self._keep_new_conditions(task, tokens, lengths)
            self._pieces[name][0].append(tokens)
            self._pieces[name][1].append(lengths)
        count = len(read.lengths)
        self._task_of_row.append(np.full(count, task, np.int32))
        self.rows += count
        return count

    def _keep_new_conditions(
        self, task: int, tokens: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        new, ids = [np.zeros(0, np.int32)], []
        for sequence in np.split(tokens, np.cumsum(lengths)[:-1]):
            size = len(self._conditions)
            ids.append(self._conditions.setdefault((task, sequence.tobytes()), size))
            if ids[-1] == size:
                new.append(sequence)
        self._condition_of_row.append(np.array(ids, np.int32))
        new_lengths = np.array([len(sequence) for sequence in new[1:]], np.int64)
        return np.concatenate(new), new_lengths

    def finish(self, tasks: Sequence[str], rates: np.ndarray) -> Examples:
        conditions = self._condition_of_row or [np.zeros(self.rows, np.int32)]
        return Examples(
            tasks=tuple(tasks),
            rates=rates / rates.sum(),
            task_of_row=np.concatenate(self._task_of_row),
            condition_of_row=np.concatenate(conditions),
            features={name: Ragged.join(*p) for name, p in self._pieces.items()},
            truncated=self._truncated,
            longest=self._longest,
        )


def truncate(
    tokens: np.ndarray, lengths: np.ndarray, limit: int, eos: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts flat sequences to `limit` tokens; those that ended in `eos` still do.

    Args:
      tokens: [total] the sequences end to end.
      lengths: [N] their lengths.
      limit: the greatest length to keep.
      eos: the EOS id, or None to just cut.

    Returns:
      (tokens, lengths) of the cut sequences.
    """
    long = lengths > limit
    if not long.any():
        return tokens, lengths
    ends = np.cumsum(lengths)
    position = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
    kept, kept_lengths = tokens[position < limit], np.minimum(lengths, limit)
    if eos is not None:
        ended = long & (tokens[ends - 1] == eos)
        kept[np.cumsum(kept_lengths)[ended] - 1] = eos
    return kept, kept_lengths
