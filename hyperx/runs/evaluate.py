"""Evaluation: what is asked of a model, and the job that asks it of its checkpoints."""

import functools
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.data import evaluation_rows, evaluation_tasks
from hyperx.data.controls import possible as possible_controls
from hyperx.data.evaluation import Evaluation
from hyperx.inference.predictor import Predictor
from hyperx.runs import distributed
from hyperx.runs.evaluation import job as job_lib
from hyperx.runs.evaluation import report as report_lib
from hyperx.runs.evaluation.batches import BatchedModel
from hyperx.runs.evaluation.summary import Results, Summary

# Tasks that stay prepared: a training run comes back to them, a job over hundreds does
# not need them any more.
PREPARED = 16


class Evaluator:
    """Asks models the examples of tasks, by decoding and by ranking, and scores them.

    Args:
        mixture_or_task_name: a name in the seqio registries, or a regular expression of
            names of tasks.
        split: of them; of several, the first that a task has.
        feature_lengths: longest ``condition``, ``inputs``, ``prompt`` and ``targets``.
        num_examples: examples per task; all if None.
        groups: conditions that are computed together.
        rows: rows per condition that are computed together; of ranked tasks, choices.
        max_new_tokens: longest output; the length of ``targets`` if None.
        registered: tasks that a configuration registered on the way here.

    Attributes:
        name: of what is evaluated, for files.
        split: of it, or several joined.
        num_examples: per task, or None.
        groups: conditions that are computed together.
    """

    def __init__(
        self,
        *,
        mixture_or_task_name: str,
        split: str | Sequence[str] = "test",
        feature_lengths: Mapping[str, int],
        num_examples: int | None = None,
        groups: int = 8,
        rows: int = 16,
        max_new_tokens: int | None = None,
        registered: Sequence[str] = (),
    ) -> None:
        del registered
        self.name = re.sub(r"[^\w.:-]+", "_", mixture_or_task_name)[:100]
        self._splits = (split,) if isinstance(split, str) else tuple(split)
        self.split = "-".join(self._splits)
        self.num_examples = num_examples
        self._which = mixture_or_task_name
        self._lengths = dict(feature_lengths)
        self.groups = groups
        self._rows = rows
        self._max_new_tokens = max_new_tokens or self._lengths["targets"]
        self._left_out: set[str] = set()
        self._prepared = functools.lru_cache(maxsize=PREPARED)(self._prepare)

    @functools.cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks with metrics and the split."""
        return tuple(self._split_of)

    @functools.cached_property
    def _split_of(self) -> dict[str, str]:
        return evaluation_tasks.of(self._which, self._splits)

    def others(self, task: str) -> dict[str, str]:
        """The other tasks that are not left out, from the next one on; their splits."""
        number = self.tasks.index(task)
        others = self.tasks[number + 1 :] + self.tasks[:number]
        left = [name for name in others if name not in self._left_out]
        return {name: self._split_of[name] for name in left}

    def check(self, task: str) -> None:
        """Reads the first example of a task: what is missing is found early."""
        evaluation_rows.first(task, self._split_of[task])

    def leave_out(self, task: str) -> None:
        """Takes no condition of a task to shuffle others with; it cannot be read."""
        self._left_out.add(task)

    def data(self, task: str, predictor: Predictor) -> Evaluation:
        """A task as models of this kind read it, prepared when first asked for."""
        method = predictor.config.method
        return self._prepared(task, method.reads, tuple(method.tasks))

    def run(
        self,
        predictor: Predictor,
        *,
        step: int,
        controls: Sequence[str] = ("matched",),
        predictions_dir: str | os.PathLike[str] | None = None,
    ) -> Results:
        """Metrics of a model.

        Args:
            predictor: the model.
            step: it was trained for.
            controls: of ``matched``, ``shuffled`` and ``empty``; those that this model
                has, see `hyperx.data.controls`, are computed.
            predictions_dir: where predictions are written; nowhere if None.
        """
        possible = possible_controls(predictor.config.method.reads)
        results: Results = {name: {} for name in controls if name in possible}
        for task in self.tasks:
            for control, of_task in results.items():
                of_task[task] = self.run_task(
                    predictor, task, control, step=step, predictions_dir=predictions_dir
                )
        return results

    def run_task(
        self,
        predictor: Predictor,
        task: str,
        control: str,
        *,
        step: int,
        predictions_dir: str | os.PathLike[str] | None = None,
    ) -> dict[str, float]:
        """Metrics of a model on one task under one control; see `run`."""
        model = BatchedModel(
            predictor,
            groups=self.groups,
            rows=self._rows,
            max_new_tokens=self._max_new_tokens,
            description=f"{task} {control}",
        )
        return self.data(task, predictor).run(
            model, step=step, control=control, log_dir=predictions_dir
        )

    def settings(self, task: str, control: str) -> dict[str, Any]:
        """All that decides over the metrics of a model on a task, for JSON."""
        settings = {
            "task": task,
            "split": self._split_of[task],
            "control": control,
            "feature_lengths": self._lengths,
            "num_examples": self.num_examples,
            "max_new_tokens": self._max_new_tokens,
        }
        if control == "shuffled":  # Its condition may be another task's.
            settings["others"] = _digest(list(self.others(task)))
        return settings

    def first_row(self, task: str) -> str:
        """A digest of the first row of a task, which other options of it change."""
        _, row = evaluation_rows.first(task, self._split_of[task])
        return _digest({name: np.asarray(row[name]).tolist() for name in sorted(row)})

    def flat(self, results: Results) -> dict[str, float]:
        """Results as one level of names, without metrics of parts of a task."""
        several = len(next(iter(results.values()))) > 1
        return {
            "/".join([control, *([task] if several else []), metric]): float(value)
            for control, tasks in results.items()
            for task, metrics in tasks.items()
            for metric, value in metrics.items()
            if "/" not in metric
        }

    def _prepare(self, task: str, reads: str, known: tuple[str, ...]) -> Evaluation:
        return Evaluation(
            task,
            self._split_of[task],
            self._lengths,
            reads,
            self.num_examples,
            known_tasks=known,
            others=self.others(task),
        )


def evaluate(
    *,
    model_dir: str | os.PathLike[str],
    evaluator: Evaluator,
    controls: Sequence[str] = ("matched", "shuffled", "empty"),
    step: int | None = None,
    steps: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    model_parallel: int = 1,
    fsdp: int = 1,
    allow_missing: bool = False,
) -> dict[int, Results]:
    """Evaluates checkpoints, prints what was found and writes it down.

    The folder receives, of every task, control and checkpoint, what the model said and
    its metrics; of every checkpoint all metrics; and a summary as Markdown, HTML and
    JSON. What is there already and was found under the same settings is not evaluated
    again.

    Args:
        model_dir: MODEL_DIR of a training run.
        evaluator: what to evaluate on.
        controls: see `Evaluator.run`.
        step: of the one checkpoint; the newest if None.
        steps: of several: ``all``, ``latest`` or ``100,200``; `step` if None.
        output_dir: the folder; ``model_dir/eval`` if None.
        model_parallel: size of the mesh's model axis.
        fsdp: size of its fsdp axis; the rest is data.
        allow_missing: whether to go on without tasks that cannot be read, and to
            average benchmarks without them; the summary says so.

    Returns:
        Metrics by checkpoint, control and task.

    Raises:
        FileNotFoundError: without a model or such a checkpoint.
        ValueError: if no task can be evaluated, or conditions that are decoded together
            do not divide by the devices.
    """
    model_dir = epath.Path(model_dir)
    folder = epath.Path(output_dir or model_dir / "eval")
    mesh = sharding.make_mesh(fsdp=fsdp, model=model_parallel)
    check_groups(evaluator.groups, mesh)
    job = job_lib.Job(
        evaluator=evaluator,
        model_dir=model_dir,
        folder=folder,
        controls=controls,
        mesh=mesh,
        allow_missing=allow_missing,
    )
    chosen = job_lib.steps_of(model_dir, step if steps is None else steps)
    findings = job.run(distributed.agreed(chosen))
    if not findings:
        raise ValueError(f"expected a task to evaluate on, got none: {job.missing}")
    summary = Summary(
        model=str(model_dir),
        method=type(job.method).__name__,
        name=evaluator.name,
        split=evaluator.split,
        num_examples=evaluator.num_examples,
        tasks=evaluator.tasks,
        findings=findings,
        missing=job.missing,
        allow_missing=allow_missing,
    )
    if not distributed.first():
        return {step: summary.results(step) for step in summary.steps}
    return report_lib.write(summary, folder)


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def check_groups(groups: int, mesh: Mesh) -> None:
    """Checks that every device gets equally many conditions to decode for.

    Raises:
        ValueError: if not.
    """
    parts = sharding.group_parts(mesh)
    if groups % parts:
        raise ValueError(
            f"expected EVAL_GROUPS, the conditions decoded together, to divide by "
            f"{parts}, the devices that they lie on, got {groups}"
        )
