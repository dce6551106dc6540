"""Which seqio tasks can be evaluated, and what their metrics are computed of."""

import difflib
import re
from collections.abc import Sequence

import seqio
from seqio.metrics import ModelOutputType

DECODED = {ModelOutputType.PREDICTION, ModelOutputType.PREDICTION_WITH_AUX}


def of(which: str, splits: Sequence[str]) -> dict[str, str]:
    """The tasks that can be evaluated among those that are meant, and their splits.

    Args:
      which: the name of a registered mixture or task, or else a regular expression of
        the whole names of registered tasks.
      splits: the first of these that a task has is evaluated.

    Returns:
      The split by name of the task.

    Raises:
      ValueError: none has metrics and such a split, or `which` means none.
    """
    if which in (*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()):
        meant = seqio.get_subtasks(seqio.get_mixture_or_task(which))
    else:
        meant = _matching(which)
    found = {
        task.name: next(split for split in splits if split in task.splits)
        for task in meant
        if task.metric_objs and not set(task.splits).isdisjoint(splits)
    }
    if not found:
        named = " or ".join(map(repr, splits))
        raise ValueError(
            f"expected a task of {which!r} with metrics and the split {named}, got "
            f"{ ({task.name: list(task.splits) for task in meant}) }"
        )
    return found


def _matching(pattern: str) -> list[seqio.Task]:
    try:
        matches = re.compile(pattern).fullmatch
    except re.error as error:
        raise ValueError(
            f"expected a task, a mixture or a regular expression of tasks, got "
            f"{pattern!r}: {error}"
        ) from error
    names = sorted(seqio.TaskRegistry.names())
    found = [seqio.TaskRegistry.get(name) for name in names if matches(name)]
    if not found:
        known = [*names, *seqio.MixtureRegistry.names()]
        near = difflib.get_close_matches(pattern, known, n=5, cutoff=0) or known[:5]
        raise ValueError(
            f"expected a task, a mixture or a regular expression of tasks, got "
            f"{pattern!r}; of {len(known)} names the nearest are {', '.join(near)}"
        )
    return found


def outputs(task: seqio.Task) -> set[ModelOutputType]:
    """What the metrics of a task are computed of.

    Raises:
      ValueError: one is computed of something else than text or scores.
    """
    kinds = {metric.model_output_type for metric in task.metric_objs}
    wrong = kinds - DECODED - {ModelOutputType.SCORE}
    if wrong:
        raise ValueError(
            f"expected metrics on predictions or scores for {task.name!r}, got metrics "
            f"on {sorted(kind.name for kind in wrong)}"
        )
    return kinds
