"""MetaICL (Min et al. 2022): sources of seqio tasks, and what their targets become."""

import itertools
import os
from collections.abc import Mapping
from typing import Any

from hyperx.data import ranking, sources
from hyperx.data.metaicl import files as metaicl
from hyperx.data.metaicl import formats as metaicl_format

FEATURES = ("condition", "inputs", "prompt", "targets")

_COLUMNS = dict.fromkeys((*FEATURES, "task", "id"), sources.TEXT) | {
    "references": sources.TEXTS
}

Directory = str | os.PathLike[str] | None


def training(
    directory: Directory,
    setting: str,
    form: metaicl_format.Format,
    count_tokens: metaicl_format.CountTokens,
    *,
    skip_malformed: bool,
    **options: int,
) -> sources.TextSource:
    """Episodes of the training tasks of a setting, one task after the other.

    Args:
      directory: as in `metaicl.root`.
      setting: its name.
      form: how examples are written.
      count_tokens: the number of tokens of a text, its end of sequence included.
      skip_malformed: whether to leave malformed lines out.
      **options: `shots`, `queries`, `seed` and `passes` of `training_rows`.
    """

    def read(split: str) -> sources.MakeRows:
        del split  # There is only one.
        tasks = metaicl.read_setting(directory, setting).train
        held = {
            task: metaicl.read_train(directory, task, skip_malformed=skip_malformed)
            for task in tasks
        }
        return lambda: itertools.chain.from_iterable(
            metaicl_format.training_rows(task, examples, form, count_tokens, **options)
            for task, examples in held.items()
        )

    return sources.TextSource(read, splits=("train",), columns=_COLUMNS)


def target(
    directory: Directory,
    task: str,
    seed: int,
    form: metaicl_format.Format,
    count_tokens: metaicl_format.CountTokens,
    *,
    skip_malformed: bool,
) -> sources.TextSource:
    """Questions of a target task, all of the condition that a seed gives.

    Args:
      directory: as in `metaicl.root`.
      task: its name.
      seed: one of `metaicl.SEEDS`.
      form: how examples are written.
      count_tokens: the number of tokens of a text, its end of sequence included.
      skip_malformed: whether to leave malformed lines out.
    """

    def read(split: str) -> sources.MakeRows:
        shown, asked = (
            metaicl.read_target(
                directory, task, seed, part, skip_malformed=skip_malformed
            )
            for part in ("train", split)
        )
        return lambda: metaicl_format.ranking_rows(
            task, shown, asked, form, count_tokens
        )

    channel = (ranking.CHOICE_INPUTS, ranking.CHOICE_PROMPTS)
    ranked = channel if form.channel else (ranking.CHOICES,)
    columns = dict.fromkeys(ranked, sources.TEXTS) | {ranking.ANSWER: sources.NUMBER}
    return sources.TextSource(
        read, splits=metaicl.TARGET_SPLITS, columns=_COLUMNS | columns
    )


def postprocess(
    text: str,
    *,
    example: Mapping[str, Any],
    is_target: bool,
    count_tokens: metaicl_format.CountTokens,
) -> str | dict[str, Any]:
    """A prediction as it is; for a target, what `metrics` scores."""
    record = ranking.postprocess(text, example=example, is_target=is_target)
    if not is_target:
        return record
    # Of a channel, the same text is scored for every choice.
    channel = ranking.CHOICE_INPUTS in example
    lengths = [1 if channel else count_tokens(text) for text in record["choices"]]
    return record | {"lengths": lengths}
