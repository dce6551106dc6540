"""Super-NaturalInstructions: the official splits, of a checkout or of the hub."""

import dataclasses
import logging
import os
import random
from collections.abc import Callable, Mapping

from hyperx.data.super_ni import files, hub, records

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
SHUFFLE_SEED = 42


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The tasks of a split, and why files were left out (`skip_malformed` only)."""

    tasks: tuple[records.Task, ...]
    skipped: Mapping[str, str]

    @property
    def num_instances(self) -> int:
        return sum(len(task.instances) for task in self.tasks)


def read_split(
    directory: str | os.PathLike[str] | None,
    split: str,
    *,
    max_instances: int = 100,
    skip_malformed: bool = False,
) -> Split:
    """Reads the tasks of an official split, with at most `max_instances` of each.

    Test tasks give their first instances, which the authors balanced by label. Train
    tasks are shuffled one by one with seed 42 before the cut, as HINT does.

    Args:
      directory: a checkout of allenai/natural-instructions, or `hf:` and the name of
        a data set (`hub`); None takes the environment variable SUPER_NI_DIR.
      split: `train` or `test`.
      max_instances: instances kept of each task.
      skip_malformed: leave malformed files out, logged and listed in the result,
        instead of raising.

    Raises:
      FileNotFoundError: the directory, its split list or a listed task is missing, or
        the hub has no such data set or is out of reach.
      records.MalformedTask: a file is not as promised (if not `skip_malformed`).
    """
    directory = directory or os.environ.get("SUPER_NI_DIR")
    if split not in SPLITS:
        raise ValueError(f"expected a split of {SPLITS}, got {split!r}")
    tasks, skipped = [], {}
    for name, read in _readers(directory, split).items():
        try:
            task = read()
        except records.MalformedTask as error:
            if not skip_malformed:
                raise
            logger.warning("left out a malformed task: %s", error)
            skipped[name] = str(error)
            continue
        instances = list(task.instances)
        if split == "train":
            random.Random(SHUFFLE_SEED).shuffle(instances)
        kept = tuple(instances[:max_instances])
        tasks.append(dataclasses.replace(task, instances=kept))
    if not tasks:
        raise ValueError(
            f"expected at least one readable {split} task in {directory}, got none "
            f"({len(skipped)} malformed)"
        )
    return Split(tasks=tuple(tasks), skipped=skipped)


def _readers(
    directory: str | os.PathLike[str] | None, split: str
) -> dict[str, Callable[[], records.Task]]:
    if str(directory).startswith(records.HUB):
        return hub.readers(str(directory).removeprefix(records.HUB), split)
    return files.readers(directory, split)
