"""Super-NaturalInstructions: reading the task files, strictly.

Pure Python. A checkout of allenai/natural-instructions holds `tasks/<task>.json` and
`splits/default/{train,test}_tasks.txt`.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from hyperx.data import folders
from hyperx.data.super_ni import records

_TYPES = {str: "a string", list: "a list", dict: "an object"}


def readers(
    directory: str | os.PathLike[str] | None, split: str
) -> dict[str, Callable[[], records.Task]]:
    """The tasks of a split by name, each read when called.

    Args:
      directory: a checkout of allenai/natural-instructions.
      split: `train` or `test`.

    Raises:
      FileNotFoundError: the directory, its split list or a listed task is missing.
    """
    root = _root(directory)
    found = {}
    for name in _task_names(root, split):
        path = root / "tasks" / f"{name}.json"
        if not path.is_file():
            raise _missing(f"the {split} task {name}", path)
        found[name] = functools.partial(read_task, path)
    return found


def read_task(path: str | os.PathLike[str]) -> records.Task:
    """Reads one task file.

    Raises:
      records.MalformedTask: bad JSON, a missing key, a wrong type, or nothing in a list
        that must hold something; the message names the file and the place.
    """
    path = pathlib.Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError or UnicodeDecodeError.
        raise records.MalformedTask(
            f"{path}: expected JSON in UTF-8, got {error}"
        ) from error
    record = _Record(path, "", content)
    definition = record.texts("Definition", or_string=True)[0].strip()
    if not definition:
        raise records.MalformedTask(
            f"{path}: Definition: expected a text, got white space"
        )
    return records.Task(
        name=path.stem,
        definition=definition,
        category=record.texts("Categories")[0],
        positives=_examples(record, "Positive Examples"),
        negatives=_examples(record, "Negative Examples"),
        instances=_instances(record, path.stem),
    )


def _examples(record: "_Record", key: str) -> tuple[records.Example, ...]:
    return tuple(
        records.Example(
            input=item.get("input", str),
            output=item.get("output", str),
            explanation=item.get("explanation", str, required=False),
        )
        for item in record.items(key)
    )


def _instances(record: "_Record", task: str) -> tuple[records.Instance, ...]:
    instances = tuple(
        records.Instance(
            # Early releases have no ids.
            id=item.get("id", str, required=False) or f"{task}-{index}",
            input=item.get("input", str),
            outputs=item.texts("output"),
        )
        for index, item in enumerate(record.items("Instances"))
    )
    if not instances:
        raise records.MalformedTask(
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
            raise records.MalformedTask(
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

    def _wrong(self, place: str, expected: str, value: Any) -> records.MalformedTask:
        got = json.dumps(value, ensure_ascii=False)
        got = got if len(got) <= 80 else got[:77] + "..."
        return records.MalformedTask(
            f"{self.path}: {place}: expected {expected}, got {got}"
        )


def _root(directory: str | os.PathLike[str] | None) -> pathlib.Path:
    if not directory:
        raise FileNotFoundError(
            "expected the folder of Super-NaturalInstructions, got neither `directory` "
            f"nor SUPER_NI_DIR; {records.HOW_TO_GET}"
        )
    root = folders.local(directory)
    if not root.is_dir():
        raise _missing("Super-NaturalInstructions", root)
    return root


def _task_names(root: pathlib.Path, split: str) -> list[str]:
    path = root / "splits" / "default" / f"{split}_tasks.txt"
    if not path.is_file():
        raise _missing(f"the list of {split} tasks", path)
    return path.read_text(encoding="utf-8").split()


def _missing(what: str, path: pathlib.Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"expected {what} at {path}, found nothing; {records.HOW_TO_GET}"
    )
