"""Data before a run: to look at, to measure, to write into a cache."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from hyperx.data import browser
from hyperx.data import cache as cache_lib
from hyperx.runs import data_report

logger = logging.getLogger(__name__)


def show(
    *,
    mixture_or_task_name: str | None,
    split: str = "train",
    count: int = 5,
    full: bool = False,
    feature_lengths: Mapping[str, int] | None = None,
    use_cached: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    registered: Sequence[str] = (),
) -> None:
    """Prints rows as models read them, and how long they are.

    Args:
        mixture_or_task_name: a task or mixture of the seqio registries.
        split: of it.
        count: rows, the first of a task, or of each task of a mixture in turn.
        full: print long texts whole.
        feature_lengths: where features are cut, by name; nowhere if None.
        use_cached: read a cache instead of the data.
        cache_dir: a folder of caches to look in.
        registered: tasks that a configuration registered on the way here.
    """
    del registered
    cache_lib.use(cache_dir)
    lengths = {"feature_lengths": feature_lengths, "use_cached": use_cached}
    name, shown = _checked(mixture_or_task_name), []
    for row in browser.rows(name, split, count, **lengths):
        shown.append(row)
        data_report.print_row(row, f"{split} {len(shown)}/{count}", full=full)
    if not shown:
        raise ValueError(f"expected rows in {name}, split {split!r}, got none")
    data_report.print_lengths(
        browser.lengths_of(shown), f"tokens of these {len(shown)} rows"
    )


def stats(
    *,
    mixture_or_task_name: str | None,
    split: str = "train",
    output: str | os.PathLike[str] | None = None,
    feature_lengths: Mapping[str, int] | None = None,
    use_cached: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    registered: Sequence[str] = (),
) -> dict[str, Any]:
    """Prints numbers of rows, lengths and mixing rates of a whole split.

    Args:
        mixture_or_task_name: a task or mixture of the seqio registries.
        split: of it.
        output: a folder that receives ``<name>-<split>.json`` and ``.png``.
        feature_lengths: where features are cut, by name; nowhere if None.
        use_cached: read a cache instead of the data.
        cache_dir: a folder of caches to look in.
        registered: tasks that a configuration registered on the way here.

    Returns:
        What is printed: ``rows``, ``features`` and ``tasks``.
    """
    del registered
    cache_lib.use(cache_dir)
    name = _checked(mixture_or_task_name)
    measured = browser.measure(
        name, split, feature_lengths=feature_lengths, use_cached=use_cached
    )
    title = f"{name} · {split}"
    if len(measured.tasks) > 1:
        data_report.print_tasks(measured, title)
    data_report.print_lengths(
        measured.features, f"{title} · tokens of {measured.rows.sum():,} rows"
    )
    report = {"name": name, "split": split, **measured.report()}
    if output is not None:
        stem = f"{name.replace(':', '_')}-{split}"
        folder = epath.Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=2) + "\n"
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
        data_report.draw(measured, title, folder / f"{stem}.png")
        print(f"{folder / stem}.json and .png")
    return report


def cache(
    *,
    mixture_or_task_name: str | None,
    output: str | os.PathLike[str] | None,
    splits: Sequence[str] = (),
    registered: Sequence[str] = (),
) -> None:
    """Writes seqio's cache of a task, or of the tasks of a mixture.

    Splits that were finished before are left as they are.

    Args:
        mixture_or_task_name: a task or mixture of the seqio registries.
        output: the folder of all caches.
        splits: to write; all there are if none are given.
        registered: tasks that a configuration registered on the way here.
    """
    del registered
    if output is None:
        raise ValueError("expected a folder (--output=DIR or CACHE_DIR), got none")
    name = _checked(mixture_or_task_name)
    rows, written, there = 0, 0, 0
    for task, split, count in cache_lib.write_all(name, output, splits):
        if count is None:
            there += 1
        else:
            logger.info("%s %s: %s rows", task, split, f"{count:,}")
            rows, written = rows + count, written + 1
    print(f"{name}: splits written: {written} ({rows:,} rows), there before: {there}")
    print(f"read them with --gin.CACHE_DIR='\"{output}\"' --gin.USE_CACHED_TASKS=True")


def _checked(name: str | None) -> str:
    if name is None:
        raise ValueError(
            "expected a task or mixture (TASK or MIXTURE_OR_TASK_NAME), got none"
        )
    return name
