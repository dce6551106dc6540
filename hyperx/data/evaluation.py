"""Evaluation of a model on one seqio task, with controls and a file of predictions.

`seqio.Evaluator` loads and keeps the data and computes the task's own metrics; here it
is given rows as our models read them, and what the model said is written down. What a
metric wants decides what the model does: for `scores` the choices of every row are
ranked, for `predictions` text is decoded, and with `aux_values` the log-probability of
that text is `aux_values["scores"]`.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
import seqio
import tensorflow as tf
from seqio.metrics import ModelOutputType

from hyperx.data import controls, converters, evaluation_tasks, metrics, ranking
from hyperx.data.evaluation_rows import Reader, Rows, other_conditions

_DECODED = evaluation_tasks.DECODED


class Model(Protocol):
    """What is evaluated; conditions, [N, I] int32, are None if not read apart."""

    def generate(
        self, conditions: np.ndarray | None, encoder_tokens: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [N, T], read up to the first end of sequence; log-probabilities [N].

        Args:
          conditions: of the rows.
          encoder_tokens: [N, S] int32.
        """
        ...

    def rank(
        self,
        conditions: np.ndarray | None,
        encoder_tokens: np.ndarray,
        choices: np.ndarray,
    ) -> np.ndarray:
        """Log-probabilities [N, C] of outputs; any number for one of padding alone.

        Args:
          conditions: of the rows.
          encoder_tokens: [N, S] int32.
          choices: [N, C, T] int32.
        """
        ...


class Evaluation:
    """Scores models on a task; its data are prepared once, here.

    Args:
      name: a registered seqio task with metrics.
      split: the split to read, e.g. `test`.
      feature_lengths: length by task feature, for those the model reads and `targets`.
        What is too long is cut but for its end of sequence; outputs that are ranked
        are not.
      reads: `condition` (condition and inputs), `task` (its number, and inputs),
        `prompt` or `inputs`.
      num_examples: if given, a random draw (the same each time) of so many examples.
      known_tasks: the names that number the tasks, if the model reads those.
      others: splits of other tasks by name, in order: where all rows have one
        condition, the first one of the next of these that has another is what
        `shuffled` shows.

    Raises:
      ValueError: the task lacks the split, metrics, a feature or a length, or has score
        metrics and a row that cannot be ranked.
    """

    def __init__(
        self,
        name: str,
        split: str,
        feature_lengths: Mapping[str, int],
        reads: str,
        num_examples: int | None = None,
        *,
        known_tasks: Sequence[str] = (),
        others: Mapping[str, str] | None = None,
    ):
        evaluation_tasks.of(name, [split])  # Checks.
        self._task = seqio.TaskRegistry.get(name)
        self._split, self._reads = split, reads
        self._wanted = evaluation_tasks.outputs(self._task)
        # Lengths are left out, so that sequences come whole to be counted and cut.
        features = tuple(self._task.output_features)
        self._evaluator = seqio.Evaluator(
            name,
            converters.RowConverter(feature_lengths, reads, features),
            eval_split=split,
            num_examples=num_examples,
            shuffle=num_examples is not None,
            async_compute_metrics=False,
        )
        reader = Reader(reads, feature_lengths, known_tasks)
        following = tuple((others or {}).items())
        given = list(self._evaluator.cached_task_datasets[name].as_numpy_iterator())
        self._rows = Rows(
            self._task,
            given,
            reader,
            lambda: other_conditions(reader, given[0], following),
            ranked=ModelOutputType.SCORE in self._wanted,
        )

    def has(self, control: str) -> bool:
        """Whether the data have a control: `shuffled` needs a second condition."""
        return control != "shuffled" or bool(self._rows.conditions.shuffled)

    def report(self) -> dict[str, Any]:
        """Examples, rows cut by feature, distinct conditions if they are read apart."""
        return self._rows.report()

    def run(
        self,
        model: Model,
        *,
        step: int,
        control: str = "matched",
        log_dir: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Scores a model and, given a `log_dir`, writes what it said.

        Predictions go to `<log_dir>/<task>-<split>-<control>-<step>.jsonl`, an object
        for each example: what was decoded, with scores in [0, 1], or the choices, their
        log-probabilities and the number of the best.

        Args:
          model: asked once for all rows, to generate, to rank or both.
          step: training step, for the names of files.
          control: `matched`, `shuffled` or `empty`, see `hyperx.data.controls`; the
            last two only if the condition is read apart.
          log_dir: created where missing; None writes nothing.

        Returns:
          The task's metrics.
        """
        controls.check(control, self._reads)
        rows, conditions, texts = self._rows, None, None
        if rows.conditions is not None:
            conditions, texts = rows.conditions.shown(control)
        said: dict[str, np.ndarray] = {}
        if self._wanted & _DECODED:
            tokens, scores = model.generate(conditions, rows.encoder_tokens)
            said["tokens"] = _checked(tokens, len(rows.records))
            said["scores"] = np.asarray(scores, np.float32)
        if rows.choices is not None:
            said["ranked"] = rows.choices.score(
                model.rank, conditions, rows.encoder_tokens
            )
        values = self._metrics(said)
        if log_dir is not None and jax.process_index() == 0:
            name = f"{self._task.name}-{self._split}-{control}-{step}.jsonl"
            lines = "".join(
                json.dumps(line, ensure_ascii=False) + "\n"
                for line in self._lines(said, texts)
            )
            _write_atomically(os.path.join(log_dir, name), lines)
        return values

    def _metrics(self, said: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What the task's own metrics make of it."""
        outputs: dict[ModelOutputType, Any] = {}
        if "tokens" in said:
            tokens = list(enumerate(said["tokens"]))
            aux_values = {"scores": list(said["scores"])}
            outputs[ModelOutputType.PREDICTION] = tokens
            outputs[ModelOutputType.PREDICTION_WITH_AUX] = (tokens, aux_values)
        if "ranked" in said:
            outputs[ModelOutputType.SCORE] = list(enumerate(said["ranked"]))
        future, _ = self._evaluator.evaluate(
            compute_metrics=True,
            model_fns={
                kind: functools.partial(lambda output, _: output, output)
                for kind, output in outputs.items()
            },
        )
        return dict(future.result()[self._task.name])

    def _lines(
        self, said: Mapping[str, np.ndarray], conditions: Sequence[str] | None
    ) -> Iterator[dict[str, Any]]:
        """Yields what was asked and said."""
        vocabulary = self._task.output_features["targets"].vocabulary
        for index, record in enumerate(self._rows.records):
            line = dict(record)
            if "ranked" in said:
                scores = said["ranked"][index]
                line["scores"] = scores[: len(record["choices"])].tolist()
                line["chosen"] = int(ranking.chosen(scores))
            if "tokens" in said:
                text = vocabulary.decode(said["tokens"][index].tolist())
                line["prediction"] = text
                references = record["references"]
                line["exact_match"] = metrics.exact_match_score(text, references)
                line["rougeL"] = metrics.rouge_l_score(text, references)
            if ModelOutputType.PREDICTION_WITH_AUX in self._wanted:
                line["score"] = float(said["scores"][index])
            if conditions is not None:
                line["condition"] = conditions[index]
            yield line


def _checked(output: Any, rows: int) -> np.ndarray:
    tokens = np.asarray(output)
    integers = np.issubdtype(tokens.dtype, np.integer)
    if not integers or tokens.ndim != 2 or len(tokens) != rows:
        raise ValueError(
            f"expected the model to generate integer tokens [{rows}, T], got "
            f"{tokens.dtype} {list(tokens.shape)}"
        )
    return tokens


def _write_atomically(path: str, content: str) -> None:
    """Writes a file, local or remote, that is never seen half written."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        file.write(content)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
