"""Evaluation of a predictor on seqio tasks, with controls and a file of predictions.

`seqio.Evaluator` loads and keeps the data and computes the tasks' own metrics; here it
is given rows as our models read them, and what the model said is written down.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf

from hyperx.data import controls, converters, examples, metrics

# (condition tokens [N, I] or None, encoder tokens [N, S]) -> generated tokens [N, T]
Predict = Callable[[np.ndarray | None, np.ndarray], np.ndarray]


class Evaluation:
    """Scores predictors on a task or mixture; the data are prepared once, here.

    Args:
      name: a registered seqio task or mixture with metrics on predictions.
      split: the split to read, e.g. `test`.
      feature_lengths: length by task feature, for those the model reads and `targets`.
      reads: `condition` (condition and inputs), `task` (its number, and inputs),
        `prompt` or `inputs`.
      known_tasks: the names that number the tasks, if the model reads those.
      num_examples: if given, a random draw (the same each time) of so many examples of
        each task.
      log_dir: where `run` writes its predictions; None writes none.

    Raises:
      ValueError: no task has the split, a metric scores anything but predictions, or a
        feature or length is missing.
    """

    def __init__(
        self,
        name: str,
        split: str,
        feature_lengths: Mapping[str, int],
        reads: str,
        num_examples: int | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        known_tasks: Sequence[str] = (),
    ):
        tasks = _tasks(name, split)
        features = tuple(tasks[0].output_features)
        self._tasks = {task.name: task for task in tasks}
        self._split = split
        self._reads = reads
        self._log_dir = log_dir
        # Lengths are left out, so that sequences come whole to be counted and cut.
        self._evaluator = seqio.Evaluator(
            name,
            converters.RowConverter(feature_lengths, reads, features),
            eval_split=split,
            num_examples=num_examples,
            shuffle=num_examples is not None,
            async_compute_metrics=False,
        )
        self._rows = {
            task: _stack(task, dataset)
            for task, dataset in self._evaluator.cached_model_datasets.items()
        }
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._truncated: dict[str, dict[str, int]] = {}
        for task in tasks:
            self._read(task, feature_lengths)
        self._conditions = self._collect_conditions(known_tasks)

    def run(
        self, predict: Predict, *, step: int, control: str = "matched"
    ) -> dict[str, dict[str, float]]:
        """Scores a predictor and, given a `log_dir`, writes what it said.

        Predictions go to `<log_dir>/<task>-<split>-<control>-<step>.jsonl`, an object
        for each example; the scores of single examples lie in [0, 1].

        Args:
          predict: called once per task with all its rows: (condition tokens [N, I]
            int32, or None if they are not read apart; encoder tokens [N, S] int32) to
            integer tokens [N, T], which are read up to the first end of sequence.
          step: training step, for the names of files.
          control: `matched`, `shuffled` or `empty`, see `hyperx.data.controls`; the
            last two only if the condition is read apart.

        Returns:
          The metrics by task.
        """
        controls.check(control, self._reads)
        # seqio hands over a task's dataset without its name.
        datasets = self._evaluator.cached_model_datasets
        names = {id(dataset): task for task, dataset in datasets.items()}
        said: dict[str, np.ndarray] = {}

        def predict_fn(dataset: tf.data.Dataset) -> list[tuple[int, np.ndarray]]:
            task = names[id(dataset)]
            conditions, _ = self._shown(task, control)
            encoder_tokens = self._rows[task]["encoder_tokens"]
            said[task] = _checked(predict(conditions, encoder_tokens), encoder_tokens)
            return list(enumerate(said[task]))

        future, _ = self._evaluator.evaluate(
            compute_metrics=True, step=step, predict_fn=predict_fn
        )
        if self._log_dir is not None and jax.process_index() == 0:
            for task, tokens in said.items():
                self._write(task, tokens, control, step)
        return {task: dict(values) for task, values in future.result().items()}

    def report(self) -> dict[str, dict[str, Any]]:
        """By task: examples, rows cut by feature, distinct conditions if read apart."""
        return {
            task: {"examples": len(records), "truncated": self._truncated[task]}
            | ({"conditions": self._conditions.count(task)} if self._conditions else {})
            for task, records in self._records.items()
        }

    def _read(self, task: seqio.Task, lengths: Mapping[str, int]) -> None:
        """Keeps the texts of a task's examples; counts what will be cut."""
        sources = converters.model_features(self._reads)
        cut = dict.fromkeys(sources.values(), 0)
        self._records[task.name], self._truncated[task.name] = [], cut
        dataset = self._evaluator.cached_task_datasets[task.name]
        for index, example in enumerate(dataset.as_numpy_iterator()):
            for source in cut:
                cut[source] += len(example[source]) > lengths[source]
            record = {
                "task": _text(example.get("task", task.name)),
                "id": _text(example.get("id", str(index))),
                "input": _written(task, example, sources["encoder_tokens"]),
                "references": _references(task, example),
            }
            if "category" in example:
                record["category"] = _text(example["category"])
            if self._reads == "condition":
                record["condition"] = _written(task, example, "condition")
            elif self._reads == "task":
                record["condition"] = record["task"]
            self._records[task.name].append(record)

    def _collect_conditions(
        self, known_tasks: Sequence[str]
    ) -> controls.Conditions | None:
        """The conditions of all tasks, if the model reads them apart."""
        if self._reads not in ("condition", "task"):
            return None
        texts = {
            name: [record["condition"] for record in records]
            for name, records in self._records.items()
        }
        if self._reads == "task":
            numbers = {
                name: np.array(
                    [[examples.task_number(text, known_tasks)] for text in rows],
                    np.int32,
                )
                for name, rows in texts.items()
            }
            return controls.Conditions(numbers, texts, eos_id=None)
        tokens = {name: rows["condition_tokens"] for name, rows in self._rows.items()}
        task = next(iter(self._tasks.values()))
        eos = task.output_features["condition"].vocabulary.eos_id
        return controls.Conditions(tokens, texts, eos)

    def _shown(
        self, task: str, control: str
    ) -> tuple[np.ndarray | None, Sequence[str] | None]:
        if self._conditions is None:
            return None, None
        return self._conditions.shown(task, control)

    def _write(self, task: str, tokens: np.ndarray, control: str, step: int) -> None:
        vocabulary = self._tasks[task].output_features["targets"].vocabulary
        _, conditions = self._shown(task, control)
        lines = []
        for index, record in enumerate(self._records[task]):
            text = vocabulary.decode(tokens[index].tolist())
            references = record["references"]
            record = record | {
                "prediction": text,
                "exact_match": metrics.exact_match_score(text, references),
                "rougeL": metrics.rouge_l_score(text, references),
            }
            if conditions is not None:
                record["condition"] = conditions[index]
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        name = f"{task}-{self._split}-{control}-{step}.jsonl"
        _write_atomically(os.path.join(self._log_dir, name), "".join(lines))


def _tasks(name: str, split: str) -> list[seqio.Task]:
    """The tasks of a mixture that seqio will evaluate, checked."""
    subtasks = seqio.get_subtasks(seqio.get_mixture_or_task(name))
    tasks = [task for task in subtasks if split in task.splits and task.metric_objs]
    if not tasks:
        raise ValueError(
            f"expected a task of {name!r} with metrics and the split {split!r}, got "
            f"{ ({task.name: list(task.splits) for task in subtasks}) }"
        )
    for task in tasks:
        kinds = {metric.model_output_type for metric in task.metric_objs}
        if kinds != {seqio.metrics.ModelOutputType.PREDICTION}:
            raise ValueError(
                f"expected metrics on predictions alone for {task.name!r}, got metrics "
                f"on {sorted(kind.name for kind in kinds)}"
            )
    return tasks


def _stack(task: str, dataset: tf.data.Dataset) -> dict[str, np.ndarray]:
    """An enumerated dataset of rows to arrays [N, length]."""
    rows = [row for _, row in dataset.as_numpy_iterator()]
    if not rows:
        raise ValueError(f"expected examples to evaluate on in {task!r}, got none")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _checked(output: Any, encoder_tokens: np.ndarray) -> np.ndarray:
    tokens = np.asarray(output)
    rows = len(encoder_tokens)
    integers = np.issubdtype(tokens.dtype, np.integer)
    if not integers or tokens.ndim != 2 or len(tokens) != rows:
        raise ValueError(
            f"expected predict to return integer tokens [{rows}, T], got "
            f"{tokens.dtype} {list(tokens.shape)}"
        )
    return tokens


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _written(task: seqio.Task, example: Mapping[str, Any], feature: str) -> str:
    """A feature as it was before tokenising, or else decoded."""
    if f"{feature}_pretokenized" in example:
        return _text(example[f"{feature}_pretokenized"])
    vocabulary = task.output_features[feature].vocabulary
    return vocabulary.decode(example[feature].tolist())


def _references(task: seqio.Task, example: Mapping[str, Any]) -> list[str]:
    if "references" in example:
        return [_text(reference) for reference in example["references"]]
    return [_written(task, example, "targets")]


def _write_atomically(path: str, content: str) -> None:
    """Writes a file, local or remote, that is never seen half written."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        file.write(content)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
