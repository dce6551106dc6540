"""MRQA 2019 (Fisch et al. 2019): reading questions with their contexts, strictly.

Pure Python and PyArrow. A folder holds either the official files,

    train/<set>.jsonl.gz, dev/<set>.jsonl.gz
                         a header, then one context with its `qas` a line

or those of `mrqa-workshop/mrqa` on the Hugging Face hub,

    plain_text/{train,validation,test}-*.parquet
                         one question a row, `subset` its set

The development files of the sets that are not trained on are the split `test`, as on
the hub. `formats` makes windows of what is read.
"""

import dataclasses
import os
import pathlib
from typing import Any

from hyperx.data import folders, records

IN_DOMAIN = (
    "SQuAD",
    "NewsQA",
    "TriviaQA-web",
    "SearchQA",
    "HotpotQA",
    "NaturalQuestionsShort",
)
OUT_OF_DOMAIN = (
    "BioASQ",
    "DROP",
    "DuoRC.ParaphraseRC",
    "RACE",
    "RelationExtraction",
    "TextbookQA",
)
FOLDERS = {"train": "train", "validation": "dev", "test": "dev"}  # official, by split
COLUMNS = ("qid", "question", "context", "detected_answers", "answers")
HOW_TO_GET = (
    "get the official files by the scripts of"
    " https://github.com/mrqa/MRQA-Shared-Task-2019 (into `train` and `dev`), or"
    " download https://huggingface.co/datasets/mrqa-workshop/mrqa, and give the folder"
    " as `directory` or in the environment variable MRQA_DIR"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question to a context.

    Attributes:
      id: unique within the set.
      text: the question.
      context: what it is asked of.
      answers: all that are acceptable, in the context or not; at least one.
      spans: where answers stand in the context: (answer, first character, last
        character), in the order of the source.
    """

    id: str
    text: str
    context: str
    answers: tuple[str, ...]
    spans: tuple[tuple[str, int, int], ...]


def splits(subset: str) -> tuple[str, ...]:
    """The splits of a set: of those not trained on, only `test`."""
    if subset not in (*IN_DOMAIN, *OUT_OF_DOMAIN):
        raise ValueError(
            f"expected a set of {(*IN_DOMAIN, *OUT_OF_DOMAIN)}, got {subset!r}"
        )
    return ("train", "validation") if subset in IN_DOMAIN else ("test",)


def read(
    directory: str | os.PathLike[str] | None,
    subset: str,
    split: str,
    *,
    skip_malformed: bool = False,
) -> tuple[Question, ...]:
    """The questions of a set.

    Args:
      directory: see the module; None takes the environment variable MRQA_DIR.
      subset: one of `IN_DOMAIN` and `OUT_OF_DOMAIN`.
      split: one of `splits(subset)`.
      skip_malformed: leave malformed lines and rows out, logged, instead of raising.

    Raises:
      FileNotFoundError: there is no such folder, or no file of the set in it.
      records.MalformedRecord: a file, line or row is not as promised.
      ValueError: no question is left.
    """
    if split not in splits(subset):
        raise ValueError(
            f"expected a split of {subset}, {splits(subset)}, got {split!r}"
        )
    paths = files(directory, subset, split)
    read = records.read(
        paths,
        _questions,
        columns=COLUMNS,
        where=("subset", subset),
        skip_malformed=skip_malformed,
    )
    questions = tuple(question for several in read for question in several)
    if not questions:
        raise ValueError(f"expected questions of {subset} in {paths[0]}, got none")
    return questions


def files(
    directory: str | os.PathLike[str] | None, subset: str, split: str
) -> list[pathlib.Path]:
    """The file of a set, or the Parquet files of all sets.

    Raises:
      FileNotFoundError: there is neither.
    """
    directory = directory or os.environ.get("MRQA_DIR")
    if not directory:
        raise FileNotFoundError(
            f"expected the folder of MRQA, got neither `directory` nor MRQA_DIR; "
            f"{HOW_TO_GET}"
        )
    root = folders.local(directory)
    # The official script names the file of DuoRC.ParaphraseRC DuoRC.
    for name in dict.fromkeys((subset, subset.partition(".")[0])):
        path = root / FOLDERS[split] / f"{name}.jsonl.gz"
        if path.is_file():
            return [path]
    tables = sorted((root / "plain_text").glob(f"{split}-*.parquet"))
    if not tables:
        raise FileNotFoundError(
            f"expected {FOLDERS[split]}/{subset}.jsonl.gz or "
            f"plain_text/{split}-*.parquet in {root}, found neither; {HOW_TO_GET}"
        )
    return tables


def _questions(record: records.Record, place: str) -> list[Question]:
    """Of an official line, or of a row of the hub."""
    if "header" in record:
        return []
    if "qas" not in record:
        return [_question(record, record, place)]
    return [
        _question(record, qa, f"{place}: qas[{number}]")
        for number, qa in enumerate(record["qas"])
    ]


def _question(context: records.Record, qa: records.Record, place: str) -> Question:
    question = Question(
        id=records.text(qa, "qid", place),
        text=records.text(qa, "question", place),
        context=records.text(context, "context", place),
        answers=records.texts(qa, "answers", place),
        spans=_spans(qa.get("detected_answers"), place),
    )
    if not question.context.strip() or not question.answers:
        raise records.MalformedRecord(
            f"{place}: expected a context and at least one answer, got "
            f"{question.context!r:.80} and {list(question.answers)}"
        )
    last = len(question.context) - 1
    for answer, start, stop in question.spans:
        if not isinstance(answer, str) or not 0 <= start <= stop <= last:
            raise records.MalformedRecord(
                f"{place}: detected_answers: expected a string within the characters 0 "
                f"to {last} of the context, got {answer!r} at {[start, stop]}"
            )
    return question


def _spans(detected: Any, place: str) -> tuple[tuple[str, int, int], ...]:
    """Of a list of answers (official) or of lists by key (hub)."""
    try:
        if isinstance(detected, dict):
            found = [
                (answer, zip(spans["start"], spans["end"], strict=True))
                for answer, spans in zip(
                    detected["text"], detected["char_spans"], strict=True
                )
            ]
        else:
            found = [(answer["text"], answer["char_spans"]) for answer in detected]
        return tuple(
            (answer, int(start), int(stop))
            for answer, spans in found
            for start, stop in spans
        )
    except (KeyError, TypeError, ValueError) as error:
        raise records.MalformedRecord(
            f"{place}: detected_answers: expected answers with `text` and `char_spans`,"
            f" got {detected!r:.80} ({type(error).__name__}: {error})"
        ) from error
