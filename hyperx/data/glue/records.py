"""Questions of GLUE and SuperGLUE (both Wang et al. 2019), wherever they were read.

`glue` and `super_glue` know the data sets, `files` and `hub` read them, `formats` makes
rows of the questions.
"""

import dataclasses
from collections.abc import Callable

from hyperx.data import records

HUB = "hf:"  # Before the name of a data set of the hub; alone, the benchmark's own.
REPOSITORIES = {"glue": "nyu-mll/glue", "super_glue": "aps/super_glue"}
HOW_TO_GET = (
    "put files of https://huggingface.co/datasets/nyu-mll/glue into `glue` and of"
    " https://huggingface.co/datasets/aps/super_glue into `super_glue`, and give the"
    " folder of both as `directory` or in the environment variable GLUE_DIR, or give"
    " `hf:` to read the hub (extra `hf`)"
)


class HiddenLabel(ValueError):
    """A question whose answer its benchmark keeps to itself; names the place."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a data set asks.

    Attributes:
      text: all that is asked, as T5 writes it, but for the name of the data set.
      answers: those that are right, at least one.
      choices: what can be answered; empty if anything can.
      label: number of the right label, -1 in a data set without labels.
      id: unique within the split.
      group: of questions that are scored together, or count once.
    """

    text: str
    answers: tuple[str, ...]
    choices: tuple[str, ...]
    label: int
    id: str
    group: str


Parse = Callable[["DataSet", records.Record, str], Question]


def parse_classified(
    data_set: "DataSet", record: records.Record, place: str
) -> Question:
    """A question whose answer is a label."""
    number = label(record, len(data_set.labels), place)
    name = identity(record, "idx", place)
    return Question(
        text=data_set.text(record, place),
        answers=(data_set.labels[number],),
        choices=data_set.labels,
        label=number,
        id=name,
        group=name,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set of GLUE or SuperGLUE.

    Attributes:
      benchmark: `glue` or `super_glue`.
      name: e.g. `mnli`.
      fields: the columns that are told, in T5's order.
      labels: words by number of the label; none if answers are free.
      description: what is to be done, as an instruction; without the labels.
      parse: makes a question of a record (with its place); see `parse_classified`.
      folder: where it is not the name.
      prefix: with which T5's inputs begin, where it is not the name.
      train_label: if given, only questions with that label are trained on.
    """

    benchmark: str
    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    description: str
    parse: Parse = parse_classified
    folder: str = ""
    prefix: str = ""
    train_label: int | None = None

    def text(self, record: records.Record, place: str) -> str:
        """The fields of a record, each after its name."""
        told = [f"{name}: {records.text(record, name, place)}" for name in self.fields]
        return " ".join(told)

    @property
    def task(self) -> str:
        """By which models know it; the two benchmarks both have an `rte`."""
        return f"{self.benchmark}_{self.name}"


def label(record: records.Record, count: int, place: str) -> int:
    """The number under `label`.

    Raises:
      HiddenLabel: it is -1.
      records.MalformedRecord: it is none of 0 to `count` - 1.
    """
    value = record.get("label")
    if value == -1:
        raise hidden(f"a label of 0 to {count - 1}, got -1", place)
    if type(value) is not int or not 0 <= value < count:
        raise records.MalformedRecord(
            f"{place}: label: expected a number of 0 to {count - 1}, got {value!r:.80}"
        )
    return value


def identity(record: records.Record, key: str, place: str) -> str:
    """The number under a key such as `idx`, as text.

    Raises:
      records.MalformedRecord: there is none.
    """
    value = record.get(key)
    if type(value) is not int:
        raise records.MalformedRecord(
            f"{place}: {key}: expected a number, got {value!r:.80}"
        )
    return str(value)


def hidden(fault: str, place: str) -> HiddenLabel:
    return HiddenLabel(
        f"{place}: expected {fault}, by which the benchmark hides the answers of its "
        "test split: train on `train` and evaluate on `validation` (EVAL_SPLIT in gin)"
    )
