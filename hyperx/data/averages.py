"""Benchmarks: which metrics of which tasks are averaged, and how.

A module of tasks registers those that its tasks belong to, so that an evaluation of the
tasks knows them::

    BENCHMARKS = averages.register([averages.Benchmark("glue", members, averages.mean)])
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

Values = Mapping[str, float]
Members = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """An average over metrics of tasks.

    Attributes:
      name: of the benchmark, for files.
      members: names of seqio tasks, each once, and of the metric that counts of each;
        or a function that gives them.
      average: makes the benchmark's figures, by name, of the value of each task.
      title: for people; the name if empty.
    """

    name: str
    members: Members | Callable[[], Members]
    average: Callable[[Values], Values]
    title: str = ""

    def metrics(self) -> dict[str, str]:
        """The metric that counts, by task.

        Raises:
          ValueError: a task is a member twice.
        """
        members = self.members() if callable(self.members) else self.members
        metrics = dict(members)
        if len(metrics) != len(members):
            counts = collections.Counter(task for task, _ in members)
            raise ValueError(
                f"expected each task of {self.name} once, got "
                f"{[task for task, count in counts.items() if count > 1]} more often"
            )
        return metrics

    def missing(self, values: Mapping[str, Values]) -> list[str]:
        """Members without a value, as `task/metric`."""
        return [
            f"{task}/{metric}"
            for task, metric in self.metrics().items()
            if metric not in values.get(task, {})
        ]

    def of(
        self, values: Mapping[str, Values], allow_missing: bool = False
    ) -> dict[str, float]:
        """The benchmark's figures.

        Args:
          values: metrics by task, as an evaluation gives them; others are ignored.
          allow_missing: average those members that have a value.

        Raises:
          ValueError: a member has no value (with `allow_missing`: none has one).
        """
        metrics, missing = self.metrics(), self.missing(values)
        if (missing and not allow_missing) or len(missing) == len(metrics):
            raise ValueError(
                f"expected all {len(metrics)} members of {self.name}, got none of "
                f"{', '.join(missing)}"
            )
        present = {
            task: float(values[task][metric])
            for task, metric in metrics.items()
            if metric in values.get(task, {})
        }
        return {name: float(x) for name, x in self.average(present).items()}


def mean(values: Values) -> dict[str, float]:
    """The mean over tasks, as `mean`."""
    return {"mean": float(np.mean(list(values.values())))}


def over_groups(
    values: Values,
    group: Callable[[str], str],
    of: Callable[[Sequence[float]], float] = np.median,
) -> dict[str, float]:
    """A figure for each group of tasks, and the `mean` of those.

    Args:
      values: by task.
      group: the name of a task's group, e.g. the data set that it is a prompt of.
      of: makes one figure of a group's values, e.g. their median.
    """
    groups = collections.defaultdict(list)
    for task, value in values.items():
        groups[group(task)].append(value)
    figures = {name: float(of(of_group)) for name, of_group in groups.items()}
    return figures | mean(figures)


_BENCHMARKS: dict[str, Benchmark] = {}


def register(benchmarks: Iterable[Benchmark]) -> tuple[Benchmark, ...]:
    """Makes benchmarks known; one of the same name is replaced. Returns them."""
    added = tuple(benchmarks)
    _BENCHMARKS.update({benchmark.name: benchmark for benchmark in added})
    return added


def registered() -> tuple[Benchmark, ...]:
    """All benchmarks known so far."""
    return tuple(_BENCHMARKS.values())
