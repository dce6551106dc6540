"""GLUE and SuperGLUE as text: rows made of questions.

The published ways to write them are T5's (Raffel et al. 2020, appendix D), labels as
words, and that of HyperFormer (Karimi Mahabadi et al. 2021) and Hyperdecoders (Ivison
and Peters 2022), labels as numbers. Pure Python.

NOTE: with numbers as with words, the fields are in T5's order, and scores of STS-B are
rounded to 0.2; the published code tells the premise of MNLI before the hypothesis, and
its rounding is to 0.1 by mistake.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hyperx.data import records
from hyperx.data.glue import records as glue_records

CONDITIONS = ("name", "description", "inputs")
TARGETS = ("words", "numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How a question is written.

    Attributes:
      condition: what the condition is: the `name` of the data set, a `description` of
        what is to be done, or the `inputs` themselves.
      targets: labels as `words` or as `numbers`.
      name_in_inputs: whether the name comes first in the inputs, as in T5; HyperFormer
        leaves it out. It is always in the prompt.
      ranked: whether choices are ranked instead of an answer generated.
    """

    condition: str = "name"
    targets: str = "words"
    name_in_inputs: bool = True
    ranked: bool = False

    def __post_init__(self):
        if self.condition not in CONDITIONS or self.targets not in TARGETS:
            raise ValueError(
                f"expected a condition of {CONDITIONS} and targets of {TARGETS}, got "
                f"{self.condition!r} and {self.targets!r}"
            )

    def labels(self, data_set: glue_records.DataSet) -> tuple[str, ...]:
        """What can be answered where the answers are labels."""
        return tuple(self.written(label, data_set) for label in data_set.labels)

    def written(self, answer: str, data_set: glue_records.DataSet) -> str:
        """An answer; its number, if it is a label and those are numbers."""
        if self.targets == "numbers" and data_set.labels:
            return str(data_set.labels.index(answer))
        return answer

    def describe(self, data_set: glue_records.DataSet) -> str:
        """The description, and which answers there are."""
        if not data_set.labels:
            return data_set.description
        labels = self.labels(data_set)
        if self.targets == "numbers":
            pairs = zip(labels, data_set.labels, strict=True)
            labels = tuple(f"{number} ({word})" for number, word in pairs)
        return f"{data_set.description} Answer {_either(labels)}."


def rows(
    questions: Iterable[glue_records.Question],
    data_set: glue_records.DataSet,
    form: Format,
    *,
    train: bool,
) -> Iterator[dict[str, Any]]:
    """Yields the rows to train on or to evaluate on.

    A question with several right answers is trained on once for each. Where only one
    label is trained on (`data_set.train_label`), others are left out.

    Args:
      questions: of one split.
      data_set: theirs.
      form: how they are written.
      train: whether the rows are to train on.

    Yields:
      `condition`, `inputs`, `prompt` (the inputs with the name, after the condition if
      that is a description), `targets`, `references` (all right answers), `task`, `id`,
      `group`, `label`; and, if ranked, `choices` and `answer`.
    """
    described = form.describe(data_set)
    for question in questions:
        if train and data_set.train_label not in (None, question.label):
            continue
        named = f"{data_set.prefix or data_set.name} {question.text}"
        inputs = named if form.name_in_inputs else question.text
        condition, prompt = {
            "name": (data_set.name, named),
            "description": (described, f"{described} {named}"),
            "inputs": (inputs, named),
        }[form.condition]
        row = {
            "condition": condition,
            "inputs": inputs,
            "prompt": prompt,
            "references": [form.written(a, data_set) for a in question.answers],
            "task": data_set.task,
            "group": question.group,
            "label": question.label,
        }
        if form.ranked:
            row["choices"] = [form.written(c, data_set) for c in question.choices]
        answers = question.answers if train else question.answers[:1]
        for number, answer in enumerate(answers):
            row["targets"] = form.written(answer, data_set)
            row["id"] = f"{question.id}/{number}" if len(answers) > 1 else question.id
            if form.ranked:
                row["answer"] = question.choices.index(answer)
            yield dict(row)


def rankable(data_set: glue_records.DataSet) -> glue_records.DataSet:
    """The same, but a question is malformed if its choices cannot be ranked."""
    return dataclasses.replace(
        data_set, parse=functools.partial(_parse_rankable, data_set.parse)
    )


def _parse_rankable(
    parse: glue_records.Parse,
    data_set: glue_records.DataSet,
    record: records.Record,
    place: str,
) -> glue_records.Question:
    question = parse(data_set, record, place)
    if len(question.choices) < 2 or not set(question.answers) <= set(question.choices):
        raise records.MalformedRecord(
            f"{place}: expected two or more choices with all of the answers "
            f"{list(question.answers)}, got {list(question.choices)}"
        )
    return question


def _either(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}"
