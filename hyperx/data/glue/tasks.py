"""Tasks of GLUE and SuperGLUE for seqio, their mixtures and averages."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from hyperx.data import averages, metrics, ranking, sources
from hyperx.data.glue import files as glue_files
from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import metrics as glue_metrics
from hyperx.data.glue import records as glue_records
from hyperx.data.glue import splits as glue_splits

FEATURES = ("condition", "inputs", "prompt", "targets")
OFFICIAL = {"train": "train", "validation": "validation", "test": "test"}

_COLUMNS = dict.fromkeys((*FEATURES, "task", "id", "group"), sources.TEXT) | {
    "references": sources.TEXTS,
    "label": sources.NUMBER,
}
_RANKED_COLUMNS = _COLUMNS | {"choices": sources.TEXTS, "answer": sources.NUMBER}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A seqio task of a benchmark.

    Attributes:
      name: of the task.
      data_set: what is asked.
      metric: of generated answers.
      counts: which of its figures counts: the only one, or the mean of them.
      weight: how many figures that is; 0 leaves it out of the mean over metrics.
      splits: of the task, and the file of each.
    """

    name: str
    data_set: glue_records.DataSet
    metric: glue_metrics.Metric
    counts: str
    weight: int
    splits: Mapping[str, str] = dataclasses.field(default_factory=OFFICIAL.copy)

    @classmethod
    def of(
        cls,
        data_set: glue_records.DataSet,
        metric: glue_metrics.Metric,
        counts: str,
        **options: Any,
    ) -> "Member":
        """With the name of the data set, and two figures if their mean counts."""
        options = {"name": data_set.task, "weight": 1 + (counts == "mean")} | options
        return cls(data_set=data_set, metric=metric, counts=counts, **options)

    def ranked(self) -> "Member":
        """The same task, but choices are ranked."""
        return dataclasses.replace(
            self,
            name=f"{self.name}_ranked",
            data_set=glue_format.rankable(self.data_set),
            metric=glue_metrics.ranked(self.metric),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """How the tasks of a benchmark are registered.

    Attributes:
      directory: as in `records.read`.
      vocabulary: of all features.
      form: how questions are written.
      make_test: whether splits are those of `splits`.
      skip_malformed: whether to leave malformed records out.
    """

    directory: str | os.PathLike[str] | None
    vocabulary: seqio.Vocabulary
    form: glue_format.Format
    make_test: bool = False
    skip_malformed: bool = False

    def add(self, member: Member) -> None:
        """Registers a task; one of the same name is replaced."""
        if member.name in seqio.TaskRegistry.names():
            seqio.TaskRegistry.remove(member.name)
        features = dict.fromkeys(FEATURES, seqio.Feature(self.vocabulary, add_eos=True))
        seqio.TaskRegistry.add(
            member.name,
            source=sources.TextSource(
                functools.partial(self._read, member),
                splits=glue_splits.SPLITS if self.make_test else tuple(member.splits),
                columns=_RANKED_COLUMNS if self.form.ranked else _COLUMNS,
            ),
            preprocessors=[
                seqio.preprocessors.tokenize,
                seqio.CacheDatasetPlaceholder(),
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=features,
            postprocess_fn=functools.partial(
                postprocess, labels=self.form.labels(member.data_set)
            ),
            metric_fns=[member.metric],
            shuffle_buffer_size=sources.SHUFFLE_BUFFER,
        )

    def _read(self, member: Member, split: str) -> sources.MakeRows:
        read = glue_splits.read if self.make_test else glue_files.read
        questions = read(
            self.directory,
            member.data_set,
            split if self.make_test else member.splits[split],
            skip_malformed=self.skip_malformed,
        )
        return functools.partial(
            glue_format.rows,
            questions,
            member.data_set,
            self.form,
            train=split == "train",
        )


def mix(
    name: str,
    members: Iterable[Member],
    *,
    temperature: float,
    maximum: int | None,
) -> None:
    """Registers a mixture by the numbers of training rows; replaces one of that name.

    Args:
      name: of the mixture.
      members: its tasks; those without a training split are evaluated on alone.
      temperature: T: rates are numbers to the power of 1 / T.
      maximum: more rows do not count (T5's limit); None counts all.
    """
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    rate = functools.partial(
        seqio.mixing_rate_num_examples, temperature=temperature, maximum=maximum
    )
    seqio.MixtureRegistry.add(
        name, [(m.name, rate if "train" in m.splits else 0.0) for m in members]
    )


def benchmark(name: str, members: Sequence[Member], title: str) -> averages.Benchmark:
    """The two published averages, see `average`."""
    return averages.Benchmark(
        name=name,
        members=tuple((member.name, member.counts) for member in members),
        average=functools.partial(average, members={m.name: m for m in members}),
        title=title,
    )


def average(
    values: Mapping[str, float], members: Mapping[str, Member]
) -> dict[str, float]:
    """The two averages that papers give; of the same model they differ by a point.

    Args:
      values: the figure that counts, by task.
      members: by task.

    Returns:
      `mean_over_tasks`: every data set counts once, its figures averaged before, as the
      benchmarks, T5, HyperPrompt and Hyperdecoders have it; and `mean_over_metrics`:
      every figure counts once, as HyperFormer has it, of MNLI the matched one.
    """
    data_sets: dict[str, list[float]] = {}
    for name, value in values.items():
        data_sets.setdefault(members[name].data_set.task, []).append(value)
    weights = [members[name].weight for name in values]
    figures = {
        "mean_over_tasks": float(np.mean([np.mean(v) for v in data_sets.values()]))
    }
    if any(weights):
        mean = np.average(list(values.values()), weights=weights)
        figures["mean_over_metrics"] = float(mean)
    return figures


def postprocess(
    text: str, *, example: Mapping[str, Any], is_target: bool, labels: tuple[str, ...]
) -> str | dict[str, Any]:
    """A prediction as it is; for a target, what `metrics` compares with."""
    if not is_target:
        return text
    record = metrics.postprocess(text, example=example, is_target=True)
    record |= {
        "labels": labels,
        "label": int(example["label"]),
        "group": example["group"].decode(),
    }
    if "choices" in example:
        record |= ranking.postprocess(text, example=example, is_target=True)
    return record
