"""MRQA 2019 (Fisch et al. 2019) as seqio tasks, in windows as Hyperdecoders read it.

mrqa_<set>           a set, e.g. mrqa_squad or mrqa_duorc: those trained on have the
                     splits `train` and `validation`, the others `test`
mrqa                 mixture of the six sets trained on, by their numbers of windows
mrqa_out_of_domain   mixture of the six others

Importing this registers all of them with the defaults below; nothing is read before a
dataset is built. `register` registers anew, with another folder or other windows.

NOTE: the name of a set is its condition; `prompt` has none, as with Hyperdecoders'
baselines, for a window is filled by question and context.
"""

import functools
import os
from collections.abc import Callable, Sequence

import seqio

from hyperx.data import averages, metrics, sources, vocabularies
from hyperx.data.mrqa import files as mrqa
from hyperx.data.mrqa import formats as mrqa_format
from hyperx.data.mrqa import metrics as mrqa_metrics

FEATURES = ("condition", "inputs", "prompt", "targets")
NAMES = {
    subset: "mrqa_" + subset.replace("-web", "").partition(".")[0].lower()
    for subset in (*mrqa.IN_DOMAIN, *mrqa.OUT_OF_DOMAIN)
}

_COLUMNS = dict.fromkeys((*FEATURES, "task", "id", "question"), sources.TEXT) | {
    "references": sources.TEXTS
}


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    max_tokens: int = 512,
    overlap: int = 128,
    drop_unanswered: bool = False,
    skip_malformed: bool = False,
) -> tuple[str, ...]:
    """Registers all sets and both mixtures (again, if need be); returns the mixtures.

    Args:
      directory: holds the files, see `hyperx.data.mrqa.files`; None takes the
        environment variable MRQA_DIR when data are read.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      max_tokens: of a window, with its question.
      overlap: tokens that a window shares with the one before.
      drop_unanswered: leave training windows without an answer out, instead of having
        nothing answered to them.
      skip_malformed: leave malformed lines and rows out, logged, instead of raising.
    """
    tokens = vocabularies.get(vocabulary)
    for subset in NAMES:
        read = functools.partial(
            _read,
            directory,
            subset,
            tokens,
            skip_malformed,
            drop_unanswered,
            max_tokens=max_tokens,
            overlap=overlap,
        )
        _add(subset, tokens, read)
    _mix("mrqa", mrqa.IN_DOMAIN, seqio.mixing_rate_num_examples)
    _mix("mrqa_out_of_domain", mrqa.OUT_OF_DOMAIN, 1.0)
    return "mrqa", "mrqa_out_of_domain"


def _read(
    directory: str | os.PathLike[str] | None,
    subset: str,
    tokens: seqio.Vocabulary,
    skip_malformed: bool,
    drop_unanswered: bool,
    split: str,
    **options: int,
) -> sources.MakeRows:
    questions = mrqa.read(directory, subset, split, skip_malformed=skip_malformed)
    return lambda: mrqa_format.examples(
        subset,
        questions,
        lambda text: len(tokens.encode(text)) + 1,
        drop_unanswered=drop_unanswered and split == "train",
        **options,
    )


def _add(
    subset: str,
    tokens: seqio.Vocabulary,
    read: Callable[[str], sources.MakeRows],
) -> None:
    name = NAMES[subset]
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    seqio.TaskRegistry.add(
        name,
        source=sources.TextSource(read, splits=mrqa.splits(subset), columns=_COLUMNS),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(tokens, add_eos=True) for f in FEATURES},
        postprocess_fn=metrics.postprocess,
        metric_fns=[mrqa_metrics.by_question],
        shuffle_buffer_size=sources.SHUFFLE_BUFFER,
    )


def _mix(
    name: str, subsets: Sequence[str], rate: float | Callable[[seqio.Task], float]
) -> None:
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    members = [NAMES[subset] for subset in subsets]
    seqio.MixtureRegistry.add(name, members, default_rate=rate)


# The macro average over sets.
BENCHMARKS = averages.register(
    averages.Benchmark(
        name=f"{name}_{metric}",
        members=tuple((NAMES[subset], metric) for subset in subsets),
        average=averages.mean,
        title=f"{title}: {label}",
    )
    for name, subsets, title in (
        ("mrqa", mrqa.IN_DOMAIN, "MRQA, in domain"),
        ("mrqa_out_of_domain", mrqa.OUT_OF_DOMAIN, "MRQA, out of domain"),
    )
    for metric, label in (("exact_match", "exact match"), ("f1", "F1"))
)

register()
