"""MetaICL (Min et al. 2022): reading its settings and few-shot files, strictly.

Pure Python. In a folder as facebookresearch/MetaICL lays it out,

    config/<setting>.json        the names of its `train` and `test` tasks, and of those
                                 of the latter that are of an unseen domain
    config/tasks/<task>.json     the type of a task
    data/<task>/<task>_<k>_<seed>_<split>.jsonl
                                 `input`, `output`, `options` (none if free-form)

a training task has one file (k = 16,384, seed 100), a target task 16 training examples
and a test set for each of five seeds. `formats` makes texts of what is read.

NOTE: the published setting `non_nli_to_nli` has `sick` in its training tasks and in its
targets: its scores on `sick`, and so its means, are not those of an unseen task.
"""

import dataclasses
import os
import pathlib

from hyperx.data import folders, records

# Those published (Min et al. 2022, table 1, and the repository). Others may exist: a
# folder has what is in its `config`.
SETTINGS = (
    "hr_to_lr",
    "class_to_class",
    "non_class_to_class",
    "qa_to_qa",
    "non_qa_to_qa",
    "non_nli_to_nli",
    "non_paraphrase_to_paraphrase",
    "hr_to_lr_noinst",
    "hr_to_lr_inst",
    "hr_to_lr_inst_all",
)
SEEDS = (100, 13, 21, 42, 87)
SHOTS = 16
TARGET_SPLITS = ("dev", "test")
CLASSIFICATION, MULTI_CHOICE, FREE_FORM = "classification", "multi-choice", "free-form"

_TRAIN_K, _TRAIN_SEED = 16_384, 100
HOW_TO_GET = (
    "build the files with the scripts of https://github.com/facebookresearch/MetaICL"
    " (its own copies are licensed CC BY-NC 4.0) and give the folder that holds"
    " `config` and `data` as `directory` or in the environment variable METAICL_DIR"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A question, its answer, and the options that it is one of (none: free-form)."""

    input: str
    output: str
    options: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Which tasks are trained on and which are the targets."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    unseen_domain: tuple[str, ...]  # of `test`


def root(directory: str | os.PathLike[str] | None) -> pathlib.Path:
    """The folder of MetaICL; None takes the environment variable METAICL_DIR.

    Raises:
      FileNotFoundError: there is none, or no setting in it.
    """
    directory = directory or os.environ.get("METAICL_DIR")
    if not directory:
        raise FileNotFoundError(
            "expected the folder of MetaICL, got neither `directory` nor METAICL_DIR; "
            f"{HOW_TO_GET}"
        )
    path = folders.local(directory)
    if not any((path / "config").glob("*.json")):
        raise _missing("the settings of MetaICL", path / "config" / "*.json")
    return path


def settings(directory: str | os.PathLike[str] | None) -> dict[str, Setting]:
    """All settings of a folder by name.

    Raises:
      FileNotFoundError: see `root`.
      records.MalformedRecord: a setting is not a JSON object with lists of names, or
        holds a task of an unseen domain that is no target.
    """
    paths = sorted((root(directory) / "config").glob("*.json"))
    return {path.stem: _setting(path) for path in paths}


def read_setting(directory: str | os.PathLike[str] | None, name: str) -> Setting:
    """One setting.

    Raises:
      As `settings`.
    """
    path = root(directory) / "config" / f"{name}.json"
    if not path.is_file():
        raise _missing(f"the setting {name}", path)
    return _setting(path)


def task_type(directory: str | os.PathLike[str] | None, task: str) -> str:
    """`classification`, `multi-choice` or `free-form`.

    Raises:
      FileNotFoundError: the task has no file in `config/tasks`.
      records.MalformedRecord: the file does not tell.
    """
    path = root(directory) / "config" / "tasks" / f"{task}.json"
    if not path.is_file():
        raise _missing(f"the type of the task {task}", path)
    kind = records.text(records.read_object(path), "task_type", str(path))
    if kind not in (CLASSIFICATION, MULTI_CHOICE, FREE_FORM):
        raise records.MalformedRecord(
            f"{path}: task_type: expected {CLASSIFICATION}, {MULTI_CHOICE} or "
            f"{FREE_FORM}, got {kind!r}"
        )
    return kind


def read_train(
    directory: str | os.PathLike[str] | None, task: str, *, skip_malformed: bool = False
) -> tuple[Example, ...]:
    """The examples of a training task.

    Raises:
      FileNotFoundError: the folder or the file is missing.
      records.MalformedRecord: a line is bad, or its output is none of its options.
      ValueError: no line is left.
    """
    place = (directory, task, _TRAIN_K, _TRAIN_SEED, "train")
    return _read(*place, skip_malformed=skip_malformed)


def read_target(
    directory: str | os.PathLike[str] | None,
    task: str,
    seed: int,
    split: str,
    *,
    skip_malformed: bool = False,
) -> tuple[Example, ...]:
    """Examples of a target task: split `train`, the 16 to show; `dev` or `test`.

    Raises:
      As `read_train`; a line has less than two options to rank.
    """
    place = (directory, task, SHOTS, seed, split)
    return _read(*place, skip_malformed=skip_malformed, least_options=2)


def _read(
    directory: str | os.PathLike[str] | None,
    task: str,
    k: int,
    seed: int,
    split: str,
    *,
    skip_malformed: bool,
    least_options: int = 0,
) -> tuple[Example, ...]:
    path = root(directory) / "data" / task / f"{task}_{k}_{seed}_{split}.jsonl"
    if not path.is_file():
        raise _missing(f"the {split} examples of the task {task}", path)

    def parse(record: records.Record, place: str) -> Example:
        return _example(record, place, least_options)

    read = tuple(records.read([path], parse, skip_malformed=skip_malformed))
    if not read:
        raise ValueError(f"expected examples in {path}, got none")
    return read


def _example(record: records.Record, place: str, least_options: int) -> Example:
    example = Example(
        input=records.text(record, "input", place),
        output=records.text(record, "output", place),
        options=records.texts(record, "options", place),
    )
    if len(example.options) < least_options:
        raise records.MalformedRecord(
            f"{place}: options: expected at least {least_options} to rank, got "
            f"{list(example.options)}"
        )
    if example.options and example.output not in example.options:
        raise records.MalformedRecord(
            f"{place}: output: expected one of the options {list(example.options)}, "
            f"got {example.output!r}"
        )
    return example


def _setting(path: pathlib.Path) -> Setting:
    record = records.read_object(path)
    unseen = "unseen_domain_test"  # Not every setting has such targets.
    setting = Setting(
        name=path.stem,
        train=records.texts(record, "train", str(path)),
        test=records.texts(record, "test", str(path)),
        unseen_domain=records.texts({unseen: []} | record, unseen, str(path)),
    )
    if not set(setting.unseen_domain) <= set(setting.test):
        raise records.MalformedRecord(
            f"{path}: {unseen}: expected tasks of `test`, got "
            f"{sorted(set(setting.unseen_domain) - set(setting.test))} besides"
        )
    return setting


def _missing(what: str, path: pathlib.Path) -> FileNotFoundError:
    return FileNotFoundError(f"expected {what} at {path}, found nothing; {HOW_TO_GET}")
