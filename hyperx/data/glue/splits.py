"""A test split with labels for GLUE, whose own are hidden, as HyperFormer makes it.

HyperFormer (Karimi Mahabadi et al. 2021, section 3) and Hyperdecoders halve the
official validation split of the small data sets, and validate on 1,000 questions of the
training split of the others, which are tested on the official validation split. MNLI is
validated on its mismatched and tested on its matched questions.

NOTE: theirs are drawn by PyTorch's generator, so these are other questions. As in
Hyperdecoders, what is validated on is not trained on.
"""

import os

import numpy as np

from hyperx.data.glue import files as glue_files
from hyperx.data.glue import glue
from hyperx.data.glue import records as glue_records

SPLITS = ("train", "validation", "test")
SEED = 42
HALVED = ("cola", "mrpc", "stsb", "rte", "wnli")
FROM_TRAIN = 1_000

Questions = tuple[glue_records.Question, ...]


def read(
    directory: str | os.PathLike[str] | None,
    data_set: glue_records.DataSet,
    split: str,
    *,
    skip_malformed: bool = False,
) -> Questions:
    """The questions of a split, with a labelled `test`; as `records.read`.

    Raises:
      ValueError: there are too few questions to split, beside what that raises.
    """
    if split not in SPLITS:
        raise ValueError(f"expected a split of {SPLITS}, got {split!r}")

    def official(name: str) -> Questions:
        return glue_files.read(directory, data_set, name, skip_malformed=skip_malformed)

    if data_set.name == glue.MNLI.name:
        names = ("train", "validation_mismatched", "validation_matched")
        return official(dict(zip(SPLITS, names, strict=True))[split])
    if data_set.name in HALVED:
        if split == "train":
            return official("train")
        questions = official("validation")
        halves = _divide(questions, len(questions) // 2, data_set)
        return halves[split == "test"]
    if split == "test":
        return official("validation")
    return _divide(official("train"), FROM_TRAIN, data_set)[split == "train"]


def _divide(
    questions: Questions, count: int, data_set: glue_records.DataSet
) -> tuple[Questions, Questions]:
    """So many questions, and the others; drawn by `SEED`, each in their order."""
    if not 0 < count < len(questions):
        raise ValueError(
            f"expected more than {max(count, 1)} questions of {data_set.task} to draw "
            f"{max(count, 1)}, got {len(questions)}"
        )
    drawn = np.zeros(len(questions), bool)
    order = np.random.default_rng(SEED).permutation(len(questions))
    drawn[order[:count]] = True
    pairs = list(zip(questions, drawn, strict=True))
    return tuple(q for q, d in pairs if d), tuple(q for q, d in pairs if not d)
