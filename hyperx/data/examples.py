"""A seqio task or mixture, tokenised once; its tokens wait in a file.

What stays in memory is a few numbers for each row: hundreds of tasks of millions of
tokens fit wherever the disk has room for them.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from hyperx.data import cache, reading
from hyperx.data.ragged import Ragged, Spool, truncate

CONDITION = "condition"
# A text may be continued from nothing; what else is read or written is there.
_MAY_BE_EMPTY = frozenset({"inputs"})


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
    cache_dir: str | os.PathLike[str] | None = None,
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
      cache_dir: a folder of caches to look in beside those that seqio knows.
      tasks: names of tasks; if given, the condition of a row is the number of its task
        among them, in the place of the feature. A row's task is what the example says
        in `task`, or else the name of the seqio task.
      progress: whether to show a bar, if standard error is a terminal.

    Raises:
      ValueError: a feature or a cache is missing, a row's task is not in `tasks`, a
        task has no rows or nothing in them, or a mixing rate is none.
      OSError: there is no room for the tokens.
    """
    _check_lengths(feature_lengths)
    cache.use(cache_dir)
    subtasks = reading.subtasks(mixture_or_task_name, split)
    if use_cached:
        for task in subtasks:
            cache.check(task, split)
    rates = reading.mixing_rates(mixture_or_task_name, subtasks)
    read = [name for name in feature_lengths if tasks is None or name != CONDITION]
    collector = _Collector(feature_lengths)
    with tqdm.tqdm(
        desc=f"{mixture_or_task_name} {split}",
        unit=" rows",
        disable=None if progress else True,
    ) as bar:
        for task in subtasks:
            collector.begin()
            for told, batch in reading.read(task, split, read, use_cached=use_cached):
                if tasks is not None:
                    batch[CONDITION] = _numbers(told, tasks)
                bar.update(collector.add(batch))
            collector.check(f"task {task.name}, split {split!r}")
    return collector.finish([task.name for task in subtasks], rates)


def _check_lengths(feature_lengths: Mapping[str, int]) -> None:
    for name, length in feature_lengths.items():
        if length < 1:
            raise ValueError(
                f"expected lengths of at least 1 (TASK_FEATURE_LENGTHS), got {length} "
                f"for {name}"
            )


def _numbers(told: Sequence[str], tasks: Sequence[str]) -> reading.Sequences:
    """The numbers of the rows' tasks, each a sequence of one."""
    numbers = np.array([task_number(name, tasks) for name in told], np.int32)
    return reading.Sequences(numbers, np.ones(len(numbers), np.int64), None)


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


class _Collector:
    """Gathers the rows of one task after the other."""

    def __init__(self, feature_lengths: Mapping[str, int]):
        self._limits = dict(feature_lengths)
        self._tokens = {name: Spool() for name in feature_lengths}
        self._lengths: dict[str, list[np.ndarray]] = {n: [] for n in feature_lengths}
        self._truncated = dict.fromkeys(feature_lengths, 0)
        self._longest = dict.fromkeys(feature_lengths, 0)
        self._conditions = 0
        self._condition_of_row: list[np.ndarray] = []
        self._rows: list[int] = []  # of each task

    def begin(self) -> None:
        """What is added from here on are rows of the next task."""
        self._rows.append(0)
        self._empty = set(self._limits) - _MAY_BE_EMPTY
        self._known: dict[bytes, int] = {}  # numbers of the task's conditions

    def add(self, batch: Mapping[str, reading.Sequences]) -> int:
        """Adds consecutive rows; returns how many."""
        for name, read in batch.items():
            limit = self._limits[name]
            self._truncated[name] += int((read.lengths > limit).sum())
            self._longest[name] = max(self._longest[name], int(read.lengths.max()))
            if not read.empty:
                self._empty.discard(name)
            tokens, lengths = truncate(read.tokens, read.lengths, limit, read.eos)
            if name == CONDITION:
                tokens, lengths = self._keep_new_conditions(tokens, lengths)
            self._tokens[name].append(tokens)
            self._lengths[name].append(lengths.astype(np.int32))
        count = len(read.lengths)
        self._rows[-1] += count
        return count

    def _keep_new_conditions(
        self, tokens: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        new, ids = [np.zeros(0, np.int32)], []
        for sequence in np.split(tokens, np.cumsum(lengths)[:-1]):
            # Told apart by 16 bytes, which fit in memory where all conditions do not.
            key = hashlib.blake2b(sequence.tobytes(), digest_size=16).digest()
            ids.append(self._known.setdefault(key, self._conditions))
            if ids[-1] == self._conditions:
                self._conditions += 1
                new.append(sequence)
        self._condition_of_row.append(np.array(ids, np.int32))
        new_lengths = np.array([len(sequence) for sequence in new[1:]], np.int64)
        return np.concatenate(new), new_lengths

    def check(self, place: str) -> None:
        """Raises ValueError if the task has no rows, or nothing in them."""
        if not self._rows[-1]:
            raise ValueError(f"expected rows in {place}, got none")
        if self._empty:
            raise ValueError(
                f"expected text in {' and '.join(sorted(self._empty))} of {place}, got "
                f"nothing in any of its {self._rows[-1]:,} rows"
            )

    def finish(self, tasks: Sequence[str], rates: np.ndarray) -> Examples:
        conditions = self._condition_of_row or [np.zeros(sum(self._rows), np.int32)]
        numbers = np.arange(len(tasks), dtype=np.int32)
        return Examples(
            tasks=tuple(tasks),
            rates=rates,
            task_of_row=np.repeat(numbers, self._rows),
            condition_of_row=np.concatenate(conditions),
            features={
                name: Ragged.of(spool.finish(), self._lengths[name])
                for name, spool in self._tokens.items()
            },
            truncated=self._truncated,
            longest=self._longest,
        )
