"""XSum, CNN/DailyMail and WikiLingua: reading documents with summaries, and ROUGE.

Pure Python and PyArrow. In a folder, each set has one of its own, with the files of a
split as Parquet or JSON lines, at any depth,

    xsum/            `document`, `summary`, `id`: EdinburghNLP/xsum on the hub
    cnn_dailymail/   `article`, `highlights`, `id`: abisee/cnn_dailymail, 3.0.0
    wiki_lingua/     `source`, `target`: GEM/wiki_lingua, English to English

so named or put that `train-00000-of-00003.parquet`, `train.jsonl` and
`train/0000.parquet` are of the split `train`.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rouge_score import rouge_scorer

from hyperx.data import folders, records

SPLITS = ("train", "validation", "test")
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
PREFIX = "summarize: "
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
HOW_TO_GET = (
    "download https://huggingface.co/datasets/EdinburghNLP/xsum (its conversion to"
    " Parquet), .../abisee/cnn_dailymail (3.0.0) or .../GEM/wiki_lingua (English) into"
    " folders xsum, cnn_dailymail and wiki_lingua, and give their parent as `directory`"
    " or in the environment variable SUMMARIZATION_DIR"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a set."""

    document: str
    summary: str


SETS = {
    "xsum": Columns(document="document", summary="summary"),
    "cnn_dailymail": Columns(document="article", summary="highlights"),
    "wiki_lingua": Columns(document="source", summary="target"),
}

# What a hypernetwork reads of a set.
CONDITIONS = {
    "xsum": "Say in one sentence what the news article is about.",
    "cnn_dailymail": "List the highlights of the news article.",
    "wiki_lingua": "Sum up every step of the guide.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A document (of a few in XSum, nothing is left) and its summary."""

    text: str
    summary: str


def read(
    directory: str | os.PathLike[str] | None,
    name: str,
    split: str,
    *,
    skip_malformed: bool = False,
) -> tuple[Document, ...]:
    """The documents of a set.

    Args:
      directory: see the module; None takes the environment variable SUMMARIZATION_DIR.
      name: of `SETS`.
      split: of `SPLITS`.
      skip_malformed: leave malformed lines and rows out, logged, instead of raising.

    Raises:
      FileNotFoundError: there is no such folder, or no file of the split in it.
      records.MalformedRecord: a file, line or row is not as promised.
      ValueError: the set or split does not exist, or has no document.
    """
    if name not in SETS or split not in SPLITS:
        raise ValueError(
            f"expected a set of {tuple(SETS)} and a split of {SPLITS}, got {name!r} "
            f"and {split!r}"
        )
    columns = SETS[name]

    def parse(record: records.Record, place: str) -> Document:
        document = Document(
            text=records.text(record, columns.document, place),
            summary=records.text(record, columns.summary, place),
        )
        if not document.summary.strip():
            raise records.MalformedRecord(
                f"{place}: {columns.summary}: expected a summary, got white space"
            )
        return document

    paths = files(directory, name, split)
    wanted = (columns.document, columns.summary)
    documents = tuple(
        records.read(paths, parse, columns=wanted, skip_malformed=skip_malformed)
    )
    if not documents:
        raise ValueError(f"expected documents in {paths[0]}, got none")
    return documents


def files(
    directory: str | os.PathLike[str] | None, name: str, split: str
) -> list[pathlib.Path]:
    """The files of a split in order.

    Raises:
      FileNotFoundError: there are none.
      ValueError: they lie in several folders.
    """
    directory = directory or os.environ.get("SUMMARIZATION_DIR")
    if not directory:
        raise FileNotFoundError(
            "expected the folder of the sets to summarize, got neither `directory` nor "
            f"SUMMARIZATION_DIR; {HOW_TO_GET}"
        )
    root = folders.local(directory) / name
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.name.endswith(SUFFIXES)
        and split in (path.parent.name, re.split("[-.]", path.name)[0])
    ]
    if not found:
        raise FileNotFoundError(
            f"expected files of the split {split!r} in {root} ({', '.join(SUFFIXES)}), "
            f"found none; {HOW_TO_GET}"
        )
    folders_of = sorted({str(path.parent) for path in found})
    if len(folders_of) > 1:
        raise ValueError(
            f"expected the files of the split {split!r} in one folder, got releases "
            f"beside each other in {folders_of}"
        )
    return found


def examples(name: str, documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
    """Yields a row for each document.

    Yields:
      `inputs` and `prompt` (`summarize: ...`), `targets` (the summary), `references`
      (it, with its newlines), `condition` (a sentence), `task` (name of the set), `id`.
    """
    for number, document in enumerate(documents):
        text = PREFIX + document.text
        yield {
            "condition": CONDITIONS[name],
            "inputs": text,
            "prompt": text,
            "targets": document.summary,
            "references": [document.summary],
            "task": name,
            "id": str(number),
        }


def rouge(
    targets: Sequence[Mapping[str, Any]], predictions: Sequence[str]
) -> dict[str, float]:
    """Metric function: means of the F-measures of `ROUGE`, stemmed, in percent.

    `rougeLsum` takes every line for a sentence: summaries keep their newlines, but a
    vocabulary that has none makes predictions of one line.

    NOTE: the mean; the published numbers are the middle of a bootstrap, which is near.

    Args:
      targets: records with `references`, the best of which counts.
      predictions: the generated texts.
    """
    scorer = rouge_scorer.RougeScorer(ROUGE, use_stemmer=True)
    scores = [
        scorer.score_multi(target["references"], said)
        for target, said in zip(targets, predictions, strict=True)
    ]
    return {
        name: 100 * float(np.mean([score[name].fmeasure for score in scores]))
        for name in ROUGE
    }
