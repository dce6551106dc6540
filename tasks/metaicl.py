"""MetaICL (Min et al. 2022) as seqio tasks and mixtures.

metaicl_<setting>_train         episodes of all training tasks of a setting, e.g. of
                                `hr_to_lr`; `task` tells them apart
metaicl_<task>_<seed>           a target task, its options ranked: the condition is its
                                16 examples of that seed; splits `dev` and `test`
metaicl_<setting>               mixture: the above for a setting, to train on (split
                                `train`) and to evaluate on (split `test`)
metaicl_channel_<...>           the same, the input being predicted from the output

In names of seqio, signs that it does not allow are written `_`. Training tasks weigh as
much as they have examples, 16,384 at most, as in MetaICL: its epochs go through all.

NOTE: the published setting `non_nli_to_nli` trains on one of its targets, `sick`.

Importing this registers the settings of the folder that the environment variable
METAICL_DIR names; without one, the published ones without their targets. No example is
read before a dataset is built. `register` registers anew, of another folder.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import seqio

from hyperx.data import averages, sources, vocabularies
from hyperx.data.metaicl import files as metaicl
from hyperx.data.metaicl import formats as metaicl_format
from hyperx.data.metaicl import metrics as metaicl_metrics
from hyperx.data.metaicl import source as metaicl_source

_METRICS = {
    metaicl.CLASSIFICATION: metaicl_metrics.macro_f1,
    metaicl.MULTI_CHOICE: metaicl_metrics.accuracy,
}

# Of the settings registered last. That option wins which does in MetaICL.
BENCHMARKS: tuple[averages.Benchmark, ...] = ()


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    shots: int = metaicl.SHOTS,
    queries: int = 4,
    passes: int = 1,
    seed: int = 0,
    skip_malformed: bool = False,
) -> tuple[str, ...]:
    """Registers all settings of a folder (again, if need be); returns the mixtures.

    Args:
      directory: holds `config` and `data`, see `hyperx.data.metaicl.files`; None takes
        the environment variable METAICL_DIR.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      shots: examples told in a training condition.
      queries: training rows that share a condition: as many as a group has of them.
      passes: how often each training example is asked, each time of another condition.
      seed: of the training episodes.
      skip_malformed: leave malformed lines out, logged, instead of raising.

    Raises:
      FileNotFoundError: a folder is given that has no settings, or lacks the type of a
        target task.
      ValueError: a setting is malformed, or a target is free-form.
    """
    global BENCHMARKS
    tokens = vocabularies.get(vocabulary)
    settings = _settings(directory)
    targets = dict.fromkeys(task for setting in settings for task in setting.test)
    kinds = {task: _ranked_type(directory, task) for task in targets}
    _check_names([*(setting.name for setting in settings), *kinds])
    options = dict(shots=shots, queries=queries, passes=passes, seed=seed)
    mixtures, benchmarks = [], []
    for form in (metaicl_format.Format(), metaicl_format.Format(channel=True)):
        family = _Family(directory, tokens, form, kinds, skip_malformed)
        for task in kinds:
            for target_seed in metaicl.SEEDS:
                family.add_target(task, target_seed)
        for setting in settings:
            mixtures.append(family.add_setting(setting, options))
            benchmarks.append(family.benchmark(setting))
    BENCHMARKS = averages.register(b for b in benchmarks if b.members)
    return tuple(mixtures)


@dataclasses.dataclass(frozen=True)
class _Family:
    """The seqio tasks of one format."""

    directory: str | os.PathLike[str] | None
    vocabulary: seqio.Vocabulary
    form: metaicl_format.Format
    kinds: Mapping[str, str]  # of the target tasks
    skip_malformed: bool

    def name(self, *parts: str | int) -> str:
        return "_".join([self.form.prefix, *(_seqio_name(str(part)) for part in parts)])

    def targets(self, tasks: Sequence[str]) -> list[str]:
        """Names of the seqio tasks of target tasks, of all seeds."""
        return [self.name(task, seed) for task in tasks for seed in metaicl.SEEDS]

    def add_target(self, task: str, seed: int) -> None:
        source = metaicl_source.target(
            self.directory,
            task,
            seed,
            self.form,
            self._count_tokens,
            skip_malformed=self.skip_malformed,
        )
        self._add(
            self.name(task, seed),
            source,
            postprocess_fn=functools.partial(
                metaicl_source.postprocess, count_tokens=self._count_tokens
            ),
            metric_fns=[_METRICS[self.kinds[task]]],
        )

    def add_setting(self, setting: metaicl.Setting, options: Mapping[str, Any]) -> str:
        """Registers training task and mixture of a setting; returns the latter."""
        source = metaicl_source.training(
            self.directory,
            setting.name,
            self.form,
            self._count_tokens,
            skip_malformed=self.skip_malformed,
            **options,
        )
        training, name = self.name(setting.name, "train"), self.name(setting.name)
        self._add(training, source)
        if name in seqio.MixtureRegistry.names():
            seqio.MixtureRegistry.remove(name)
        members = [training, *self.targets(setting.test)]
        seqio.MixtureRegistry.add(name, members, default_rate=1.0)
        return name

    def benchmark(self, setting: metaicl.Setting) -> averages.Benchmark:
        """The published averages of a setting."""
        members = [
            (name, f"{_METRICS[self.kinds[task]].__name__}_per_token")
            for task in setting.test
            for name in self.targets([task])
        ]
        return averages.Benchmark(
            name=self.name(setting.name),
            members=tuple(members),
            average=functools.partial(
                metaicl_metrics.over_seeds,
                unseen_domain=self.targets(setting.unseen_domain),
            ),
            title=f"MetaICL {setting.name}{', channel' if self.form.channel else ''}",
        )

    def _count_tokens(self, text: str) -> int:
        return len(self.vocabulary.encode(text)) + 1

    def _add(self, name: str, source: seqio.DataSource, **options: Any) -> None:
        if name in seqio.TaskRegistry.names():
            seqio.TaskRegistry.remove(name)
        seqio.TaskRegistry.add(
            name,
            source=source,
            preprocessors=[
                seqio.preprocessors.tokenize,
                seqio.CacheDatasetPlaceholder(),
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features={
                feature: seqio.Feature(self.vocabulary, add_eos=True)
                for feature in metaicl_source.FEATURES
            },
            **options,
            shuffle_buffer_size=sources.SHUFFLE_BUFFER,
        )


def _settings(
    directory: str | os.PathLike[str] | None,
) -> tuple[metaicl.Setting, ...]:
    """Those of the folder; if none is known, those published, their tasks unknown."""
    try:
        return tuple(metaicl.settings(directory).values())
    except FileNotFoundError:
        if directory:
            raise
        # What is missing is said when data are read.
        return tuple(
            metaicl.Setting(name=name, train=(), test=(), unseen_domain=())
            for name in metaicl.SETTINGS
        )


def _ranked_type(directory: str | os.PathLike[str] | None, task: str) -> str:
    kind = metaicl.task_type(directory, task)
    if kind not in _METRICS:
        raise ValueError(
            f"expected target tasks with options to rank, {' or '.join(_METRICS)}, got "
            f"{task}, which is {kind}"
        )
    return kind


def _seqio_name(name: str) -> str:
    return re.sub(r"[^\w.:#]", "_", name)


def _check_names(names: Sequence[str]) -> None:
    """Raises ValueError where two names become one."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(_seqio_name(name), name)
        if other != name:
            raise ValueError(
                "expected names that differ as names of seqio tasks, got "
                f"{other!r} and {name!r}"
            )


register()
