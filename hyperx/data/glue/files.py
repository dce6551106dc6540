"""Questions of GLUE and SuperGLUE: reading a folder, or the hub in its place.

Pure Python and PyArrow. A folder, GLUE_DIR, has the columns and names of the Hugging
Face hub's `nyu-mll/glue` and `aps/super_glue`:

    glue/<data set>/<split>.jsonl            or <split>-*.parquet, or <split>.parquet
    super_glue/<data set>/<split>.jsonl      the same

e.g. `glue/mnli/validation_matched.jsonl`.
"""

import functools
import os
import pathlib

from hyperx.data import folders, records
from hyperx.data.glue import hub
from hyperx.data.glue import records as glue_records


def read(
    directory: str | os.PathLike[str] | None,
    data_set: glue_records.DataSet,
    split: str,
    *,
    skip_malformed: bool = False,
) -> tuple[glue_records.Question, ...]:
    """The questions of a split, in order.

    Args:
      directory: see the module; or `hf:` and a name, see `hub`; None takes the
        environment variable GLUE_DIR.
      data_set: which one.
      split: as the file is named, e.g. `train` or `validation_matched`.
      skip_malformed: leave malformed records out, logged, instead of raising.

    Raises:
      FileNotFoundError: there is no such file, or the hub is out of reach.
      records.MalformedRecord: a file or record is not as promised.
      glue_records.HiddenLabel: the split is one whose labels are not public.
      ValueError: there is no question.
    """
    directory = directory or os.environ.get("GLUE_DIR")
    parse = functools.partial(data_set.parse, data_set)
    if str(directory).startswith(glue_records.HUB):
        repository = str(directory).removeprefix(glue_records.HUB)
        found = hub.read(repository, data_set, split, parse, skip_malformed)
        source = str(directory)
    else:
        paths = files(directory, data_set, split)
        found = records.read(paths, parse, skip_malformed=skip_malformed)
        source = str(paths[0])
    questions = tuple(found)
    if not questions:
        raise ValueError(
            f"expected questions of {data_set.task} {split} in {source}, got none"
        )
    return questions


def files(
    directory: str | os.PathLike[str] | None, data_set: glue_records.DataSet, split: str
) -> list[pathlib.Path]:
    """The file of a split, or the parts of its table.

    Raises:
      FileNotFoundError: there is none.
    """
    if not directory:
        raise FileNotFoundError(
            "expected the folder of GLUE and SuperGLUE, got neither `directory` nor "
            f"GLUE_DIR; {glue_records.HOW_TO_GET}"
        )
    root = folders.local(directory)
    folder = root / data_set.benchmark / (data_set.folder or data_set.name)
    for pattern in (f"{split}.jsonl", f"{split}.parquet", f"{split}-*.parquet"):
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise FileNotFoundError(
        f"expected {split}.jsonl, {split}.parquet or {split}-*.parquet in {folder}, "
        f"found none; {glue_records.HOW_TO_GET}"
    )
