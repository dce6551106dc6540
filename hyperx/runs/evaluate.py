"""Evaluation by decoding, with the conditions that belong to the inputs and without."""

import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hyperx import sharding
from hyperx.data.controls import possible as possible_controls
from hyperx.data.evaluation import Evaluation
from hyperx.inference.predictor import Predictor
from hyperx.runs import models, progress, report
from hyperx.task_state import TaskState

# Metrics by task, by control.
Results = dict[str, dict[str, dict[str, float]]]


class Evaluator:
    """Decodes a task's or mixture's examples and scores them.

    Args:
        mixture_or_task_name: a name in the seqio registries.
        split: of it.
        feature_lengths: longest ``condition``, ``inputs``, ``prompt`` and ``targets``.
        num_examples: examples per task; all if None.
        groups: conditions that are decoded together.
        rows: rows per condition that are decoded together.
        max_new_tokens: longest output; the length of ``targets`` if None.
        registered: tasks that a configuration registered on the way here.
    """

    def __init__(
        self,
        *,
        mixture_or_task_name: str,
        split: str = "test",
        feature_lengths: Mapping[str, int],
        num_examples: int | None = None,
        groups: int = 8,
        rows: int = 16,
        max_new_tokens: int | None = None,
        registered: Sequence[str] = (),
    ) -> None:
        del registered
        self.name = mixture_or_task_name
        self.split = split
        self._lengths = dict(feature_lengths)
        self._num_examples = num_examples
        self._groups = groups
        self._rows = rows
        self._max_new_tokens = max_new_tokens or self._lengths["targets"]

    # Evaluators live as long as their run.
    @functools.lru_cache(maxsize=4)  # noqa: B019
    def data(
        self,
        reads: str,
        tasks: tuple[str, ...],
        predictions_dir: str | os.PathLike[str] | None = None,
    ) -> Evaluation:
        """The examples, prepared once for every kind of model."""
        return Evaluation(
            self.name,
            self.split,
            self._lengths,
            reads,
            self._num_examples,
            predictions_dir,
            known_tasks=tasks,
        )

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
                has, see `hyperx.data.controls.possible`, are computed.
            predictions_dir: where predictions are written; nowhere if None.
        """
        method = predictor.config.method
        evaluation = self.data(method.reads, method.tasks, predictions_dir)
        possible = possible_controls(method.reads)
        return {
            control: evaluation.run(
                lambda conditions, inputs: self._decode(predictor, conditions, inputs),
                step=step,
                control=control,
            )
            for control in controls
            if control in possible
        }

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

    def _decode(
        self, predictor: Predictor, conditions: np.ndarray | None, inputs: np.ndarray
    ) -> np.ndarray:
        """Tokens ``[N, T]``; every distinct condition is read once."""
        out = np.zeros((len(inputs), self._max_new_tokens), np.int32)
        done = 0
        with progress.Bar(len(inputs), description="decode") as bar:
            for which, members in blocks(conditions, len(inputs), self._groups):
                state = predictor.adapt_tokens(which)
                for rows in self._chunks(members):
                    self._decode_chunk(predictor, state, rows, inputs, out)
                    count = sum(map(len, rows))
                    done += count
                    bar.update(done, rows=count)
        return out

    def _chunks(self, members: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Up to `rows` of the rows of every condition at a time."""
        for start in range(0, max(map(len, members)), self._rows):
            yield [rows[start : start + self._rows] for rows in members]

    def _decode_chunk(
        self,
        predictor: Predictor,
        state: TaskState,
        members: list[np.ndarray],
        inputs: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Decodes some rows of each condition of `state` into `out`."""
        tokens = np.zeros((self._groups, self._rows, inputs.shape[1]), np.int32)
        for group, rows in enumerate(members):
            tokens[group, : len(rows)] = inputs[rows]
        decoded, _ = predictor.generate_tokens(tokens, state, self._max_new_tokens)
        for group, rows in enumerate(members):
            out[rows] = decoded[group, : len(rows)]


def blocks(
    conditions: np.ndarray | None, count: int, groups: int
) -> list[tuple[np.ndarray | None, list[np.ndarray]]]:
    """Plans which rows are decoded together.

    Args:
        conditions: tokens ``[N, I]``, or None.
        count: N.
        groups: conditions per block (G).

    Returns:
        Per block the tokens of its conditions ``[G, I]``, the last repeated where there
        are fewer, and the rows of each. Without conditions, G equal shares of all rows.
    """
    if conditions is None:
        return [(None, np.array_split(np.arange(count), groups))]
    distinct, of_row = np.unique(conditions, axis=0, return_inverse=True)
    of_row = of_row.ravel()
    plan = []
    for start in range(0, len(distinct), groups):
        chosen = np.arange(start, min(start + groups, len(distinct)))
        filled = np.pad(chosen, (0, groups - len(chosen)), mode="edge")
        rows = [np.flatnonzero(of_row == index) for index in chosen]
        plan.append((distinct[filled], rows))
    return plan


def evaluate(
    *,
    model_dir: str | os.PathLike[str],
    evaluator: Evaluator,
    controls: Sequence[str] = ("matched", "shuffled", "empty"),
    step: int | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    model_parallel: int = 1,
) -> Results:
    """Evaluates a checkpoint, prints its metrics and writes its predictions.

    Args:
        model_dir: MODEL_DIR of a training run.
        evaluator: what to evaluate on.
        controls: see `Evaluator.run`.
        step: of the checkpoint; the newest if None.
        output_dir: receives predictions and metrics; ``model_dir/eval`` if None.
        model_parallel: size of the mesh's model axis.

    Returns:
        Metrics by control and task.
    """
    step = models.latest_step(model_dir) if step is None else step
    mesh = sharding.make_mesh(model=model_parallel)
    predictor = models.load(model_dir, step, mesh=mesh)
    folder = pathlib.Path(output_dir or pathlib.Path(model_dir) / "eval")
    folder.mkdir(parents=True, exist_ok=True)
    results = evaluator.run(
        predictor, step=step, controls=controls, predictions_dir=folder
    )
    method = predictor.config.method
    summary: dict[str, Any] = {
        "task": evaluator.name,
        "split": evaluator.split,
        "step": step,
        "data": evaluator.data(method.reads, method.tasks, folder).report(),
        "metrics": results,
    }
    path = folder / f"metrics-{evaluator.name}-{evaluator.split}-{step}.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    report.print_metrics(summary)
    print(f"predictions and metrics: {folder}")
    return results
