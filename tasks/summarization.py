"""XSum, CNN/DailyMail and WikiLingua as seqio tasks, as Hyperdecoders read them.

summarization_xsum, summarization_cnn_dailymail, summarization_wiki_lingua
                       splits `train`, `validation` and `test`
summarization          mixture of the three, at temperature 10

Importing this registers all of them with the defaults below; nothing is read before a
dataset is built. `register` registers anew, with another folder or vocabulary.

NOTE: a sentence about the set is its condition; `prompt` has none, as with
Hyperdecoders' baselines, which all read `summarize:`. The published code asks for the
temperature but mixes by size at last; see `temperature`.
"""

import functools
import os
from typing import Any

import seqio

from hyperx.data import averages, metrics, sources, summarization, vocabularies

FEATURES = ("condition", "inputs", "prompt", "targets")
NAMES = {name: f"summarization_{name}" for name in summarization.SETS}

_COLUMNS = dict.fromkeys((*FEATURES, "task", "id"), sources.TEXT) | {
    "references": sources.TEXTS
}


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    temperature: float = 10.0,
    skip_malformed: bool = False,
) -> tuple[str, ...]:
    """Registers the sets and their mixture (again, if need be); returns all names.

    Args:
      directory: holds the files, see `hyperx.data.summarization`; None takes the
        environment variable SUMMARIZATION_DIR when data are read.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      temperature: T of the mixture, whose rates are sizes to the power of 1 / T.
      skip_malformed: leave malformed lines and rows out, logged, instead of raising.
    """
    tokens = vocabularies.get(vocabulary)
    for name in NAMES:
        _add(name, tokens, functools.partial(_read, directory, name, skip_malformed))
    if "summarization" in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove("summarization")
    rate = functools.partial(seqio.mixing_rate_num_examples, temperature=temperature)
    seqio.MixtureRegistry.add("summarization", list(NAMES.values()), default_rate=rate)
    return *NAMES.values(), "summarization"


def _read(
    directory: str | os.PathLike[str] | None,
    name: str,
    skip_malformed: bool,
    split: str,
) -> sources.MakeRows:
    documents = summarization.read(
        directory, name, split, skip_malformed=skip_malformed
    )
    return functools.partial(summarization.examples, name, documents)


def _add(name: str, tokens: seqio.Vocabulary, read: Any) -> None:
    if NAMES[name] in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(NAMES[name])
    seqio.TaskRegistry.add(
        NAMES[name],
        source=sources.TextSource(read, splits=summarization.SPLITS, columns=_COLUMNS),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(tokens, add_eos=True) for f in FEATURES},
        postprocess_fn=metrics.postprocess,
        metric_fns=[summarization.rouge],
        shuffle_buffer_size=sources.SHUFFLE_BUFFER,
    )


BENCHMARKS = averages.register(
    averages.Benchmark(
        name=f"summarization_{metric}",
        members=tuple((name, metric) for name in NAMES.values()),
        average=averages.mean,
        title=f"XSum, CNN/DailyMail, WikiLingua: {metric}",
    )
    for metric in ("rouge1", "rouge2", "rougeL", "rougeLsum")
)

register()
