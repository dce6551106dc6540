"""P3 as seqio tasks, and the mixtures of T0 (Sanh et al. 2022).

p3_<configuration>          a prompt, e.g. p3_cosmos_qa_no_prompt_text; its answer is
                            generated
p3_<...>_score_eval         a prompt whose choices are ranked
p3_t0_train, p3_t0_plus_train, p3_t0_plus_plus_train
                            mixtures, on the split `train`, with T0's mixing rates
p3_t0_eval                  mixture of the held-out data sets, on `validation`
p3_raw_<configuration>      a prompt rendered here (`register_raw`)

Mixtures have those members that the folder has; `missing` tells which data sets it has
not. Importing this registers the configurations in the folder that the environment
variable P3_DIR names, and nothing without one. No row is read before a dataset is
built. `register` registers anew, of another folder or with other conditions.

NOTE: HINT's task has no end of sequence on inputs and condition; here all features do.
"""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import seqio

from hyperx.data import averages, metrics, ranking, vocabularies
from hyperx.data.p3 import directories
from hyperx.data.p3 import files as p3
from hyperx.data.p3 import formats as p3_format
from hyperx.data.p3 import lists as p3_lists
from hyperx.data.p3 import metrics as p3_metrics
from hyperx.data.p3 import raw as p3_raw
from hyperx.data.p3 import source as p3_source

logger = logging.getLogger(__name__)

_PREFIX, _RAW_PREFIX = "p3_", "p3_raw_"


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    templates: str | os.PathLike[str] | None = None,
    vocabulary: str = vocabularies.T5,
    max_examples: int | None = None,
    skip_malformed: bool = False,
    **form: Any,
) -> tuple[str, ...]:
    """Registers all configurations and T0's mixtures of them; returns their names.

    Args:
      directory: holds the configurations, or `hf:bigscience/P3`; None takes the
        environment variable P3_DIR. See `hyperx.data.p3.files`.
      templates: promptsource's folder of templates, for conditions that tell them;
        None takes `promptsource_templates` in the directory.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      max_examples: of a training split, a random draw (the same each time) of so many
        examples; all if None.
      skip_malformed: leave malformed examples out, logged, instead of raising.
      **form: `condition`, `shots`, `queries`, `passes`, `max_tokens` and `seed`, of
        `hyperx.data.p3.formats.Format`.

    Raises:
      FileNotFoundError: there is no configuration, or one lacks files.
      ValueError: see `Format`; or few-shot conditions want sentinels that the
        vocabulary has not.
    """
    folder = directories.open_directory(directory)
    if templates is None and not folder.place.startswith(p3.HUB):
        templates = os.path.join(folder.place, p3.TEMPLATES)
    prompts = p3_source.Prompts(
        collection=folder,
        templates=templates,
        form=p3_format.Format(**form),
        vocabulary=vocabularies.get(vocabulary),
        max_examples=max_examples,
        skip_malformed=skip_malformed,
    )
    names = [_add(_PREFIX, name, prompts) for name in folder.splits]
    for mixture in (*p3_lists.TRAINING, p3_lists.HELD_OUT):
        if mixture in seqio.MixtureRegistry.names():
            seqio.MixtureRegistry.remove(mixture)
        members = p3_lists.members(mixture, folder.splits)
        if members:
            _tell_missing(mixture, folder)
            rates = [(_PREFIX + name, rate) for name, rate in members.items()]
            seqio.MixtureRegistry.add(mixture, rates)
            names.append(mixture)
    return tuple(names)


def _tell_missing(mixture: str, folder: p3.Folder) -> None:
    absent = p3_lists.missing(mixture, folder.splits)
    if absent:
        logger.info(
            "%s is without %d of its data sets, which %s has not: %s",
            mixture,
            len(absent),
            folder.place,
            ", ".join(absent[:3]) + ", ..." * (len(absent) > 3),
        )


def missing(
    mixture: str, directory: str | os.PathLike[str] | None = None
) -> tuple[str, ...]:
    """The data sets of one of T0's mixtures that a folder has no prompt of.

    Args:
      mixture: e.g. `p3_t0_train`.
      directory: as in `register`.
    """
    return p3_lists.missing(mixture, directories.open_directory(directory).splits)


def register_raw(
    dataset: str,
    subset: str | None,
    files: Mapping[str, Sequence[str | os.PathLike[str]]],
    *,
    templates: str | os.PathLike[str],
    vocabulary: str = vocabularies.T5,
    max_examples: int | None = None,
    skip_malformed: bool = False,
    **form: Any,
) -> tuple[str, ...]:
    """Registers the prompts of one data set, rendered from its rows.

    Args:
      dataset: its name, as promptsource has it, e.g. `super_glue`.
      subset: its configuration, if it has several, e.g. `copa`.
      files: by split, files of JSON lines or Parquet with the columns of the hub.
      templates: promptsource's folder of templates.
      vocabulary: as in `register`.
      max_examples: as in `register`.
      skip_malformed: as in `register`.
      **form: as in `register`; `seed` also draws what templates leave to chance.

    Raises:
      FileNotFoundError: a file or the templates of the data set are missing.
      ValueError: as in `register`.
    """
    told = p3_format.Format(**form)
    prompts = p3_source.Prompts(
        collection=p3_raw.Rendered(dataset, subset, files, templates, seed=told.seed),
        templates=templates,
        form=told,
        vocabulary=vocabularies.get(vocabulary),
        max_examples=max_examples,
        skip_malformed=skip_malformed,
    )
    return tuple(_add(_RAW_PREFIX, name, prompts) for name in prompts.collection.splits)


def _add(prefix: str, configuration: str, prompts: p3_source.Prompts) -> str:
    """Registers a configuration (again, if need be); returns the task's name."""
    name = prefix + configuration
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    is_ranked = configuration.endswith(p3_lists.SCORE_EVAL)
    seqio.TaskRegistry.add(
        name,
        source=p3_source.Source(prompts, configuration),
        preprocessors=[
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={
            feature: seqio.Feature(prompts.vocabulary, add_eos=True)
            for feature in p3_format.FEATURES
        },
        postprocess_fn=ranking.postprocess if is_ranked else metrics.postprocess,
        metric_fns=[ranking.accuracy if is_ranked else metrics.generation],
    )
    return name


def _held_out() -> list[tuple[str, str]]:
    """The members of `p3_t0_eval`, if it is registered, and the metric that counts.

    A data set without any prompt is a member, too: the average misses it.
    """
    if p3_lists.HELD_OUT not in seqio.MixtureRegistry.names():
        return []
    names = [task.name for task in seqio.MixtureRegistry.get(p3_lists.HELD_OUT).tasks]
    present = [name.removeprefix(_PREFIX) for name in names]
    absent = p3_lists.missing(p3_lists.HELD_OUT, present)
    return [(n, "accuracy") for n in (*names, *(f"{_PREFIX}{set_}" for set_ in absent))]


BENCHMARKS = averages.register(
    [
        averages.Benchmark(
            name=p3_lists.HELD_OUT,
            members=_held_out,
            average=functools.partial(
                p3_metrics.over_templates,
                dataset_of=lambda name: p3_lists.group_of(name.removeprefix(_PREFIX)),
            ),
            title="T0's held-out data sets: median and spread over templates",
        )
    ]
)

if os.environ.get("P3_DIR"):
    register()
