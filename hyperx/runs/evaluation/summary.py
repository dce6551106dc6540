"""What an evaluation found, as numbers: averages, and the best checkpoints."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hyperx.data import averages
from hyperx.runs.evaluation.findings import Finding

# Metrics by task, by control.
Results = dict[str, dict[str, Mapping[str, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Average:
    """A benchmark's figures of one checkpoint under one control.

    Attributes:
        figures: by name; None where members are missing that may not be.
        missing: members without a value.
        members: how many the benchmark has.
    """

    figures: Mapping[str, float] | None
    missing: Sequence[str]
    members: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """The best checkpoint of a task."""

    task: str
    metric: str
    step: int
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What was found of all checkpoints, tasks and controls.

    Attributes:
        model: folder of the model.
        method: name of its method.
        name: of what was evaluated.
        split: of it.
        num_examples: per task; all if None.
        tasks: all that were to be evaluated.
        findings: of those that were.
        missing: the others, with reasons.
        allow_missing: whether benchmarks are averaged without missing members.
    """

    model: str
    method: str
    name: str
    split: str
    num_examples: int | None
    tasks: Sequence[str]
    findings: Sequence[Finding]
    missing: Mapping[str, str]
    allow_missing: bool

    @property
    def steps(self) -> list[int]:
        """The checkpoints."""
        return list(dict.fromkeys(finding.unit.step for finding in self.findings))

    @property
    def controls(self) -> list[str]:
        """Those that were computed."""
        return list(dict.fromkeys(finding.unit.control for finding in self.findings))

    @property
    def control(self) -> str:
        """The first, `matched` as a rule, under which checkpoints are compared."""
        return self.controls[0]

    def metrics(self, step: int, control: str) -> dict[str, Mapping[str, float]]:
        """By task, of one checkpoint under one control."""
        return {
            finding.unit.task: finding.metrics
            for finding in self.findings
            if (finding.unit.step, finding.unit.control) == (step, control)
            and finding.lacks is None
        }

    def results(self, step: int) -> Results:
        """By control and task, of one checkpoint."""
        results = {control: self.metrics(step, control) for control in self.controls}
        return {control: tasks for control, tasks in results.items() if tasks}

    def data(self) -> dict[str, Mapping[str, Any]]:
        """Counts of examples and of what was cut, by task."""
        return {finding.unit.task: finding.data for finding in self.findings}

    def lacks(self) -> dict[str, str]:
        """Controls that tasks do not have, as `task control`, with reasons."""
        return {
            f"{finding.unit.task} {finding.unit.control}": finding.lacks
            for finding in self.findings
            if finding.lacks is not None
        }

    def main_metric(self, task: str) -> str | None:
        """The metric that counts for a benchmark, or else a task's first."""
        for benchmark in averages.registered():
            if task in benchmark.metrics():
                return benchmark.metrics()[task]
        for finding in self.findings:
            if finding.unit.task == task:
                for name in finding.metrics:
                    if "/" not in name:
                        return name
        return None

    def benchmarks(self) -> list[averages.Benchmark]:
        """The mean over the tasks, if several, and what is registered of them."""
        known = [
            benchmark
            for benchmark in averages.registered()
            if set(self.tasks) & benchmark.metrics().keys()
        ]
        if len(self.tasks) < 2:
            return known
        members = [(task, self.main_metric(task) or "metric") for task in self.tasks]
        title = f"mean over the {len(members)} tasks"
        return [averages.Benchmark("tasks", members, averages.mean, title), *known]

    def average(
        self, benchmark: averages.Benchmark, step: int, control: str
    ) -> Average:
        """The figures of a benchmark, as far as they can be had."""
        values = self.metrics(step, control)
        missing, count = benchmark.missing(values), len(benchmark.metrics())
        figures = None
        if not missing or (self.allow_missing and len(missing) < count):
            figures = benchmark.of(values, self.allow_missing)
        return Average(figures=figures, missing=missing, members=count)

    def headline(self, benchmark: averages.Benchmark, step: int) -> float | None:
        """The figure by which checkpoints are compared: `mean`, or else the first."""
        figures = self.average(benchmark, step, self.control).figures
        if not figures:
            return None
        return figures.get("mean", next(iter(figures.values())))

    def best_step(self, benchmark: averages.Benchmark) -> int | None:
        """The checkpoint with the highest headline, the earliest of equal ones."""
        return _best({step: self.headline(benchmark, step) for step in self.steps})

    def values(self, task: str, control: str | None = None) -> dict[int, float | None]:
        """The main metric of a task, by checkpoint."""
        metric, control = self.main_metric(task), control or self.control
        return {
            step: self.metrics(step, control).get(task, {}).get(metric)
            for step in self.steps
        }

    def best_per_task(self) -> list[Best]:
        """Of every task the checkpoint with the highest value."""
        best = []
        for task in self.tasks:
            values = self.values(task)
            step = _best(values)
            if step is not None:
                metric = self.main_metric(task)
                best.append(
                    Best(task=task, metric=metric, step=step, value=values[step])
                )
        return best

    def to_json(self) -> dict[str, Any]:
        """All of this, for a file."""
        return {
            "model": self.model,
            "method": self.method,
            "task": self.name,
            "split": self.split,
            "num_examples": self.num_examples,
            "steps": self.steps,
            "benchmarks": [
                {"name": benchmark.name, "title": benchmark.title}
                | {"step": step, "control": control}
                | dataclasses.asdict(self.average(benchmark, step, control))
                for benchmark in self.benchmarks()
                for step in self.steps
                for control in self.controls
            ],
            "single_best": {
                benchmark.name: self.best_step(benchmark)
                for benchmark in self.benchmarks()
            },
            "best_per_task": list(map(dataclasses.asdict, self.best_per_task())),
            "missing": dict(self.missing),
            "lacks": self.lacks(),
        }


def _best(values: Mapping[int, float | None]) -> int | None:
    """The checkpoint with the highest value, which is a number."""
    known = {
        step: value
        for step, value in values.items()
        if value is not None and not math.isnan(value)
    }
    return max(known, key=lambda step: (known[step], -step), default=None)
