"""C4 (Raffel et al. 2020): documents from local files, and examples made of them.

The files are lines of JSON with a `text`, plain or gzipped, as those of allenai/c4 on
the Hugging Face hub.
"""

import gzip
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hyperx.data import folders
from hyperx.data.c4 import splits

logger = logging.getLogger(__name__)

Cut = Callable[[np.ndarray, np.random.Generator], splits.Parts]

SPLITS = ("train", "validation")
PATTERNS = ("*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz")
HOW_TO_GET = (
    "download files such as en/c4-train.00000-of-01024.json.gz and"
    " en/c4-validation.00000-of-00008.json.gz from"
    " https://huggingface.co/datasets/allenai/c4 and give their folder as `directory`"
    " or in the environment variable C4_DIR"
)


class MalformedLine(ValueError):
    """A line that is no JSON object with a text; names file and line."""


def files(directory: str | os.PathLike[str] | None, split: str) -> list[pathlib.Path]:
    """The files of a split in order: of "validation" those with that word in the name.

    Args:
      directory: a folder; None takes the environment variable C4_DIR.
      split: one of `SPLITS`.

    Raises:
      FileNotFoundError: there is no such folder, or no file of the split in it.
    """
    if split not in SPLITS:
        raise ValueError(f"expected a split of {SPLITS}, got {split!r}")
    directory = directory or os.environ.get("C4_DIR")
    if not directory:
        raise FileNotFoundError(
            "expected the folder of C4, got neither `directory` nor C4_DIR; "
            f"{HOW_TO_GET}"
        )
    root = folders.local(directory)
    found = {path for pattern in PATTERNS for path in root.glob(pattern)}
    chosen = [p for p in found if ("validation" in p.name) == (split == "validation")]
    if not chosen:
        where = "with" if split == "validation" else "without"
        raise FileNotFoundError(
            f"expected C4 files {' '.join(PATTERNS)} {where} 'validation' in the name "
            f"(split {split!r}) in {root}, found none; {HOW_TO_GET}"
        )
    return sorted(chosen)


def texts(paths: Iterable[pathlib.Path]) -> Iterator[str]:
    """The texts of files, one after the other.

    Raises:
      MalformedLine: see there.
    """
    for path in paths:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield _text(line, f"{path}:{number}")


def _text(line: str, place: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedLine(
            f"{place}: expected a JSON object with `text`, got {line[:80]!r}"
        ) from error
    if not isinstance(text, str):
        raise MalformedLine(f"{place}: `text`: expected a string, got {text!r:.80}")
    return text


def examples(
    documents: Iterable[str],
    encode: Callable[[str], Sequence[int]],
    cut: Cut,
    *,
    window: int,
    seed: int,
    max_documents: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Cuts documents into windows and these into examples.

    Args:
      documents: texts; their number here is part of the randomness.
      encode: text to tokens, without end of sequence.
      cut: one of the functions of `splits`.
      window: tokens of a window.
      seed: draws the cuts.
      max_documents: how many documents to read; all if None.

    Yields:
      The `splits.Parts` by name, each [any] int32, and `id`, "<document>/<window>".
    """
    kept = total = document = 0
    for document, text in enumerate(itertools.islice(documents, max_documents), 1):
        tokens = np.array(encode(text), np.int32)
        total += len(tokens)
        for number, part in enumerate(splits.windows(tokens, window)):
            kept += len(part)
            parts = cut(part, splits.generator(seed, document - 1, number))
            yield parts._asdict() | {"id": f"{document - 1}/{number}"}
    logger.info(
        "%d documents of C4; %d of %d tokens left out, in windows of less than %d",
        document,
        total - kept,
        total,
        splits.SHORTEST_WINDOW,
    )
