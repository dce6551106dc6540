"""The rows that a task is evaluated on: as models read them, and as people do."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from hyperx.data import controls, converters, examples, ranking, reading

Example = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a kind of model reads examples.

    Attributes:
      reads: `condition`, `task`, `prompt` or `inputs`.
      lengths: by task feature.
      known_tasks: the names that number the tasks, if the model reads those.
    """

    reads: str
    lengths: Mapping[str, int]
    known_tasks: Sequence[str] = ()

    @property
    def features(self) -> dict[str, str]:
        """Model feature to the task feature it is made of."""
        return converters.model_features(self.reads)

    @property
    def input(self) -> str:
        """The task feature that the encoder reads."""
        return self.features["encoder_tokens"]

    @property
    def conditioned(self) -> bool:
        """Whether the condition is read apart from the input."""
        return self.reads in ("condition", "task")

    def tokens(self, example: Example, feature: str) -> np.ndarray:
        """A feature at its length, [length] int32."""
        return ranking.fit(example[feature].tolist(), self.lengths[feature])

    def condition(self, task: seqio.Task, example: Example) -> controls.Condition:
        """The condition of an example of a task."""
        if self.reads == "condition":
            text = _written(task, example, "condition")
            return self.tokens(example, "condition"), text
        text = _name(task, example)
        number = examples.task_number(text, self.known_tasks)
        return np.array([number], np.int32), text


def first(name: str, split: str) -> tuple[seqio.Task, Example]:
    """A task and its first example.

    Raises:
      ValueError: it has none.
    """
    task = seqio.TaskRegistry.get(name)
    for example in reading.dataset_of(task, split).take(1).as_numpy_iterator():
        return task, example
    raise ValueError(f"expected examples to evaluate on in {name!r}, got none")


def other_conditions(
    reader: Reader, example: Example, others: Iterable[tuple[str, str]]
) -> Iterator[controls.Condition]:
    """The first conditions of other tasks, in order; those of its own kind come last.

    The same task with another seed, or another template of the same data set, has
    conditions that say the same.

    Args:
      reader: of the model.
      example: of the task.
      others: names and splits of the other tasks.
    """
    of_its_kind = []
    for name, split in others:
        task, other = first(name, split)
        condition = reader.condition(task, other)
        if _kind(other) == _kind(example):
            of_its_kind.append(condition)
        else:
            yield condition
    yield from of_its_kind


def _kind(example: Example) -> str:
    """What an example says of where it comes from; nothing if all it has is itself."""
    return ranking.as_text(example.get("category", example.get("task", "")))


class Rows:
    """The rows of a task.

    Args:
      task: that they belong to.
      given: its examples.
      reader: of the model.
      others: gives conditions of other tasks, see `controls.Conditions`.
      ranked: whether the rows have choices.

    Attributes:
      records: of each row the texts `task`, `id`, `input`, `references` and, where
        there are such, `category`, `condition`, `choices` and its `answer`.
      encoder_tokens: [N, S] int32.
      conditions: those of the rows; None if the model reads none apart.
      choices: what is chosen among; None if the task is not ranked.
      truncated: how many rows are cut, by feature.

    Raises:
      ValueError: there are no rows, or they cannot be ranked.
    """

    def __init__(
        self,
        task: seqio.Task,
        given: Sequence[Example],
        reader: Reader,
        others: Callable[[], Iterable[controls.Condition]],
        *,
        ranked: bool,
    ):
        if not given:
            raise ValueError(
                f"expected examples to evaluate on in {task.name!r}, got none"
            )
        self._task, self._reader = task, reader
        self.truncated = {
            name: sum(len(example[name]) > reader.lengths[name] for example in given)
            for name in reader.features.values()
        }
        self.records = [self._record(*pair) for pair in enumerate(given)]
        self.encoder_tokens = self._stack(given, reader.input)
        self.choices = self._ranked(given) if ranked else None
        if self.choices is not None and self.choices.inputs is None:
            del self.truncated["targets"]  # They are ranked whole.
        self.conditions = self._conditions(given, others)

    def report(self) -> dict[str, Any]:
        """Examples, rows cut by feature, distinct conditions if they are read apart."""
        report = {"examples": len(self.records), "truncated": self.truncated}
        if self.conditions is not None:
            report["conditions"] = self.conditions.count
        return report

    def _stack(self, given: Sequence[Example], feature: str) -> np.ndarray:
        return np.stack([self._reader.tokens(example, feature) for example in given])

    def _record(self, index: int, example: Example) -> dict[str, Any]:
        task = self._task
        record = {
            "task": _name(task, example),
            "id": ranking.as_text(example.get("id", str(index))),
            "input": _written(task, example, self._reader.input),
            "references": _references(task, example),
        }
        if "category" in example:
            record["category"] = ranking.as_text(example["category"])
        return record

    def _conditions(
        self,
        given: Sequence[Example],
        others: Callable[[], Iterable[controls.Condition]],
    ) -> controls.Conditions | None:
        if not self._reader.conditioned:
            return None
        read = [self._reader.condition(self._task, example) for example in given]
        for record, (_, text) in zip(self.records, read, strict=True):
            record["condition"] = text
        # There is no task without a name.
        eos = self._vocabulary("condition").eos_id
        return controls.Conditions(
            np.stack([tokens for tokens, _ in read]),
            [text for _, text in read],
            eos if self._reader.reads == "condition" else None,
            others,
        )

    def _ranked(self, given: Sequence[Example]) -> ranking.Choices:
        """Checks the rows and tokenises what is chosen among."""
        for index, (record, example) in enumerate(
            zip(self.records, given, strict=True)
        ):
            ranking.check(example, f"{self._task.name}, row {index} ({record['id']})")
            record["choices"] = ranking.choices(example)
            record["answer"] = int(example[ranking.ANSWER])
        if ranking.CHOICES in given[0]:
            rows = [record["choices"] for record in self.records]
            outputs, _ = self._tokens(rows, "targets", None)
            return ranking.Choices(outputs)
        feature = self._reader.input
        column = {"prompt": ranking.CHOICE_PROMPTS}.get(feature, ranking.CHOICE_INPUTS)
        if column not in given[0]:
            raise ValueError(
                f"expected {column!r} in {self._task.name} for a model that reads "
                f"{self._reader.reads!r}, got rows of {sorted(given[0])}"
            )
        rows = [ranking.as_texts(example[column]) for example in given]
        inputs, cut = self._tokens(rows, feature, self._reader.lengths[feature])
        self.truncated[column] = cut
        return ranking.Choices(self._stack(given, "targets")[:, None], inputs)

    def _tokens(
        self, rows: Sequence[Sequence[str]], feature: str, length: int | None
    ) -> tuple[np.ndarray, int]:
        vocabulary = self._vocabulary(feature)
        return ranking.tokens(rows, vocabulary.encode, vocabulary.eos_id, length)

    def _vocabulary(self, feature: str) -> seqio.Vocabulary:
        return self._task.output_features[feature].vocabulary


def _name(task: seqio.Task, example: Example) -> str:
    return ranking.as_text(example.get("task", task.name))


def _written(task: seqio.Task, example: Example, feature: str) -> str:
    """A feature as it was before tokenising, or else decoded."""
    if f"{feature}_pretokenized" in example:
        return ranking.as_text(example[f"{feature}_pretokenized"])
    vocabulary = task.output_features[feature].vocabulary
    return vocabulary.decode(example[feature].tolist())


def _references(task: seqio.Task, example: Example) -> list[str]:
    if "references" in example:
        return ranking.as_texts(example["references"])
    return [_written(task, example, "targets")]
