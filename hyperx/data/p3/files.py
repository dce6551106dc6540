"""P3 (Sanh et al. 2022; Bach et al. 2022): reading its configurations, strictly.

As in the data set `bigscience/P3` of the Hugging Face hub, a configuration is a folder
named after data set and template, with files `<split>-00000-of-00001.parquet` of rows

    inputs_pretokenized, targets_pretokenized       a rendered prompt, its answer
    ..., idx (example, choice), is_correct          of `<...>_score_eval`: one row for
                                                    each choice of an example

`rows` makes examples of them. Pure Python and PyArrow.
"""

import collections
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hyperx.data.p3 import lists as p3_lists
from hyperx.data.p3 import rows as p3_rows

logger = logging.getLogger(__name__)

HUB = "hf:"  # Before the name of a data set on the Hugging Face hub.
PREPARED = "tfds:"  # Before a folder of data sets of TensorFlow Datasets.
ONLY_FILE = "-00000-of-00001.parquet"
TEMPLATES = "promptsource_templates"  # A folder beside the configurations.
HOW_TO_GET = (
    "download configurations (folders) of"
    " https://huggingface.co/datasets/bigscience/P3 and give the folder that holds them"
    " as `directory` or in the environment variable P3_DIR; hf:bigscience/P3 downloads"
    " what is read"
)

_FILE = re.compile(r"([^/]+)/([^/]+)-(\d{5})-of-(\d{5})\.parquet")


class Collection(Protocol):
    """Prompts by configuration and split: a folder, the hub, or rendered rows."""

    splits: Mapping[str, Sequence[str]]  # by configuration

    def read(
        self, configuration: str, split: str, *, skip_malformed: bool = False
    ) -> tuple[p3_rows.Example, ...]: ...


class Folder:
    """Files of P3 by configuration and split; read when asked for.

    Args:
      place: where they are, for messages.
      names: of the files, below that place.
      locate: makes a local path, or records with their places, of such a name.

    Raises:
      FileNotFoundError: there are none, or some of a split are missing.
    """

    def __init__(
        self, place: str, names: Iterable[str], locate: Callable[[str], p3_rows.File]
    ):
        self.place = place
        self._locate = locate
        self._files: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        counts = {}
        for name in sorted(names):
            if match := _FILE.fullmatch(name):
                split = match[1], match[2]
                self._files[split].append(name)
                counts[split] = int(match[4])
        if not counts:
            raise FileNotFoundError(
                "expected configurations of P3, <configuration>/<split>-00000-of-00001"
                f".parquet, in {place}, found none; {HOW_TO_GET}"
            )
        for (configuration, split), count in counts.items():
            found = self._files[configuration, split]
            if len(found) != count:
                raise FileNotFoundError(
                    f"expected {count} files of {place}/{configuration}, split {split},"
                    f" found {found}; {HOW_TO_GET}"
                )
        self.splits: dict[str, list[str]] = {}
        for configuration, split in counts:
            self.splits.setdefault(configuration, []).append(split)

    def read(
        self, configuration: str, split: str, *, skip_malformed: bool = False
    ) -> tuple[p3_rows.Example, ...]:
        """All examples of a split whose answer is known.

        Args:
          configuration: its name.
          split: one of its splits.
          skip_malformed: leave malformed examples out, logged, instead of raising. A
            damaged file of a `_score_eval` is always an error: one could not tell
            whether all choices were read.

        Raises:
          ValueError: the configuration or split is not there, an example or a file is
            malformed (`records.MalformedRecord`), or no example is left.
        """
        if (configuration, split) not in self._files:
            raise ValueError(
                f"expected a split of {configuration}, which has "
                f"{self.splits.get(configuration, [])}, got {split!r}"
            )
        paths = [self._locate(name) for name in self._files[configuration, split]]
        is_ranked = configuration.endswith(p3_lists.SCORE_EVAL)
        read = p3_rows.ranked if is_ranked else p3_rows.plain
        examples = tuple(read(paths, skip_malformed))
        known = tuple(e for e in examples if e.targets != p3_rows.NO_LABEL)
        if len(known) < len(examples):
            logger.warning(
                "%s, %s: left out %d examples without an answer",
                configuration,
                split,
                len(examples) - len(known),
            )
        if not known:
            raise ValueError(
                f"expected examples with an answer in {configuration}, split {split}, "
                f"got {len(examples)} without"
            )
        return known
