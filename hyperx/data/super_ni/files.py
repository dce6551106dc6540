"""Super-NaturalInstructions: reading the task files, strictly.

Pure Python. A checkout of allenai/natural-instructions holds `tasks/<task>.json` and
`splits/default/{train,test}_tasks.txt`. `hub` reads rows of the Hugging Face
hub instead. `formats` makes texts of what is read.
"""

import dataclasses
import functools
import json
import logging
import os
import pathlib
import random
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
SHUFFLE_SEED = 42
HUB = "hf:"  # Before the name of a data set on the Hugging Face hub.

_TYPES = {str: "a string", list: "a list", dict: "an object"}
HOW_TO_GET = (
    "clone the original with `git clone"
    " https://github.com/allenai/natural-instructions` and give its folder as"
    " `directory` or in the environment variable SUPER_NI_DIR"
)


class MalformedTask(ValueError):
    """A task file that is not what the format promises; names file and fault."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A demonstration written by the task's authors; its output is one string."""

    input: str
    output: str
    explanation: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """One question of a task with all its acceptable answers (at least one)."""

    id: str
    input: str
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One task; `definition` is stripped, `category` the first of its list.

    `positives` and `negatives` are None where the source has no such examples at all.
    """

    name: str
    definition: str
    category: str
    positives: tuple[Example, ...] | None
    negatives: tuple[Example, ...] | None
    instances: tuple[Instance, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The tasks of a split, and why files were left out (`skip_malformed` only)."""

    tasks: tuple[Task, ...]
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
      MalformedTask: a file is not as promised (if not `skip_malformed`).
    """
    directory = directory or os.environ.get("SUPER_NI_DIR")
    if split not in SPLITS:
        raise ValueError(f"expected a split of {SPLITS}, got {split!r}")
    tasks, skipped = [], {}
    for name, read in _readers(directory, split).items():
        try:
            task = read()
        except MalformedTask as error:
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


def read_task(path: str | os.PathLike[str]) -> Task:
    """Reads one task file.

    Raises:
      MalformedTask: bad JSON, a missing key, a wrong type, or nothing in a list that
        must hold something; the message names the file and the place.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError.
        raise MalformedTask(f"{path}: expected JSON in UTF-8, got {error}") from error
    record = _Record(path, "", content)
    definition = record.texts("Definition", or_string=True)[0].strip()
    if not definition:
        raise MalformedTask(f"{path}: Definition: expected a text, got white space")
    return Task(
        name=path.stem,
        definition=definition,
        category=record.texts("Categories")[0],
        positives=_examples(record, "Positive Examples"),
        negatives=_examples(record, "Negative Examples"),
        instances=_instances(record, path.stem),
    )


def _examples(record: "_Record", key: str) -> tuple[Example, ...]:
    return tuple(
        Example(
            input=item.get("input", str),
            output=item.get("output", str),
            explanation=item.get("explanation", str, required=False),
        )
        for item in record.items(key)
    )


def _instances(record: "_Record", task: str) -> tuple[Instance, ...]:
    instances = tuple(
        Instance(
            # Early releases have no ids.
            id=item.get("id", str, required=False) or f"{task}-{index}",
            input=item.get("input", str),
            outputs=item.texts("output"),
        )
        for index, item in enumerate(record.items("Instances"))
    )
    if not instances:
        raise MalformedTask(
            f"{record.path}: Instances: expected at least one, got an empty list"
        )
    return instances


@dataclasses.dataclass(frozen=True)
class _Record:
    """A JSON object and its place in the file, for messages that say both."""

    path: pathlib.Path
    place: str
    content: Any

    def __post_init__(self):
        if not isinstance(self.content, dict):
            where = self.place.rstrip(".") or "the file"
            raise self._wrong(where, "an object", self.content)

    def get(self, key: str, kind: type, *, required: bool = True) -> Any:
        if key not in self.content:
            if not required:
                return None
            raise MalformedTask(
                f"{self.path}: expected the key '{self.place}{key}', "
                f"got only {sorted(self.content)}"
            )
        value = self.content[key]
        if not isinstance(value, kind):
            raise self._wrong(self.place + key, _TYPES[kind], value)
        return value

    def texts(self, key: str, *, or_string: bool = False) -> tuple[str, ...]:
        """A list of at least one string (or a bare string, as early releases have)."""
        if or_string and isinstance(self.content.get(key), str):
            return (self.content[key],)
        values = self.get(key, list)
        if not values or not all(isinstance(value, str) for value in values):
            raise self._wrong(self.place + key, "a list of one or more strings", values)
        return tuple(values)

    def items(self, key: str) -> list["_Record"]:
        return [
            _Record(self.path, f"{self.place}{key}[{index}].", item)
            for index, item in enumerate(self.get(key, list))
        ]

    def _wrong(self, place: str, expected: str, value: Any) -> MalformedTask:
        got = json.dumps(value, ensure_ascii=False)
        got = got if len(got) <= 80 else got[:77] + "..."
        return MalformedTask(f"{self.path}: {place}: expected {expected}, got {got}")


def _readers(
    directory: str | os.PathLike[str] | None, split: str
) -> dict[str, Callable[[], Task]]:
    """The tasks of a split by name, each read when called."""
    if str(directory).startswith(HUB):
        from hyperx.data.super_ni import hub as super_ni_hub  # It imports this module.

        return super_ni_hub.readers(str(directory).removeprefix(HUB), split)
    root = _root(directory)
    readers = {}
    for name in _task_names(root, split):
        path = root / "tasks" / f"{name}.json"
        if not path.is_file():
            raise _missing(f"the {split} task {name}", path)
        readers[name] = functools.partial(read_task, path)
    return readers


def _root(directory: str | os.PathLike[str] | None) -> pathlib.Path:
    if not directory:
        raise FileNotFoundError(
            "expected the folder of Super-NaturalInstructions, got neither `directory` "
            f"nor SUPER_NI_DIR; {HOW_TO_GET}"
        )
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise _missing("Super-NaturalInstructions", root)
    return root


def _task_names(root: pathlib.Path, split: str) -> list[str]:
    path = root / "splits" / "default" / f"{split}_tasks.txt"
    if not path.is_file():
        raise _missing(f"the list of {split} tasks", path)
    return path.read_text(encoding="utf-8").split()


def _missing(what: str, path: pathlib.Path) -> FileNotFoundError:
    return FileNotFoundError(f"expected {what} at {path}, found nothing; {HOW_TO_GET}")
