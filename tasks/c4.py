"""C4 as seqio tasks for hyperpretraining: `c4_prefix_lm` and `c4_caclm`.

c4_prefix_lm  three parts of a window: condition, input, target (HINT)
c4_caclm      input and target from within a window, the rest is the condition
              (HyperTuning)

Importing this registers both with the defaults below; nothing is read before a dataset
is built. `register` registers anew, with another folder, vocabulary or window.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from hyperx.data import metrics, sources, vocabularies
from hyperx.data.c4 import files as c4
from hyperx.data.c4 import splits

FEATURES = ("condition", "inputs", "prompt", "targets")


def register(
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    window: int = 512,
    gap_token: int | None = None,
    max_documents: int | None = None,
    seed: int = 0,
) -> tuple[str, ...]:
    """Registers both tasks (again, if need be); returns their names.

    Args:
      directory: holds the files, see `hyperx.data.c4.files`; None takes the environment
        variable C4_DIR when data are read.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      window: tokens of a window.
      gap_token: id of the token that marks a gap; the vocabulary's first sentinel,
        `<extra_id_0>`, if None.
      max_documents: how many documents of a split to read; all if None.
      seed: draws the cuts.
    """
    splits.check_window(window)
    tokens = vocabularies.get(vocabulary)
    options = dict(window=window, seed=seed, max_documents=max_documents)
    for name, make_cut in (("c4_prefix_lm", _prefix_lm), ("c4_caclm", _caclm)):
        cut = functools.partial(make_cut, tokens, gap_token)
        dataset = functools.partial(_dataset, directory, tokens, cut, options)
        _add(name, dataset, tokens)
    return "c4_prefix_lm", "c4_caclm"


def _add(
    name: str, dataset: Callable[..., tf.data.Dataset], tokens: seqio.Vocabulary
) -> None:
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=c4.SPLITS),
        preprocessors=[
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(tokens, add_eos=True) for f in FEATURES},
        metric_fns=[continuation],
        shuffle_buffer_size=sources.SHUFFLE_BUFFER,
    )


def _dataset(
    directory: str | os.PathLike[str] | None,
    tokens: seqio.Vocabulary,
    make_cut: Callable[[], c4.Cut],
    options: Mapping[str, Any],
    split: str,
    shuffle_files: bool,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Examples as tokens. Shuffling is left to whoever makes batches of them."""
    del shuffle_files, seed
    # Here: tf.data would make other errors of theirs.
    paths, cut = c4.files(directory, split), make_cut()

    def rows() -> Iterator[dict[str, Any]]:
        return c4.examples(c4.texts(paths), tokens.encode, cut, **options)

    spec = {name: tf.TensorSpec([None], tf.int32) for name in FEATURES}
    spec["id"] = tf.TensorSpec([], tf.string)
    return tf.data.Dataset.from_generator(rows, output_signature=spec)


def _prefix_lm(tokens: seqio.Vocabulary, gap_token: int | None) -> c4.Cut:
    del tokens, gap_token
    return splits.prefix_lm


def _caclm(tokens: seqio.Vocabulary, gap_token: int | None) -> c4.Cut:
    if gap_token is None and not tokens.extra_ids:
        raise ValueError(
            f"expected a gap token for {tokens}, which has no sentinels, got None"
        )
    gap = tokens.vocab_size - 1 if gap_token is None else gap_token
    return functools.partial(splits.caclm, gap=gap)


def continuation(
    targets: Sequence[str], predictions: Sequence[str]
) -> dict[str, float]:
    """ROUGE-L of the generated with the true continuation, in percent.

    The likelihood of the true one, which is what is trained, is no metric of generated
    text: see `cross_entropy` in the metrics of training.
    """
    scores = metrics.rouge_l_batch(predictions, [[target] for target in targets])
    return {"rougeL": 100 * float(scores.mean())}


register()
