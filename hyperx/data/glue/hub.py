"""GLUE and SuperGLUE from the Hugging Face hub, through the library `datasets`."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from hyperx.data import records
from hyperx.data.glue import records as glue_records

logger = logging.getLogger(__name__)


def read(
    repository: str,
    data_set: glue_records.DataSet,
    split: str,
    parse: Callable[[records.Record, str], glue_records.Question],
    skip_malformed: bool = False,
) -> Iterator[glue_records.Question]:
    """Yields the questions of a split.

    Args:
      repository: its name, or a local folder that `datasets` can load; if empty, where
        the benchmark is published.
      data_set: which one; its folder, or else its name, is that of the configuration.
      split: such as `train` or `validation_matched`.
      parse: makes a question of a row and its place.
      skip_malformed: leave malformed rows out, logged, instead of raising.

    Raises:
      FileNotFoundError: the data set is missing or out of reach.
      ValueError: the library is missing.
      records.MalformedRecord: of `parse` (if not `skip_malformed`).
    """
    repository = repository or glue_records.REPOSITORIES[data_set.benchmark]
    name = data_set.folder or data_set.name
    for number, row in enumerate(_load(repository, name, split)):
        try:
            question = parse(row, f"{repository}/{name}, {split} row {number}")
        except records.MalformedRecord as error:
            if not skip_malformed:
                raise
            logger.warning("left out: %s", error)
            continue
        yield question


def _load(repository: str, name: str, split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"expected the library `datasets` to read {glue_records.HUB}{repository}, "
            f"got {error}; install it with `pip install 'hyperx[hf]'`"
        ) from error
    try:
        return datasets.load_dataset(repository, name, split=split)
    except Exception as error:  # Of several libraries, with no common base.
        raise FileNotFoundError(
            f"expected the {split} split of {name} in the data set {repository} on the "
            f"Hugging Face hub, got {type(error).__name__}: {error}; check the name "
            f"and the network, or {glue_records.HOW_TO_GET}"
        ) from error
