"""Super-NaturalInstructions as seqio tasks: `super_ni_def[_pos_k][_neg_k][_expl]`.

Importing this registers `super_ni_def`, `super_ni_def_pos_1` and `super_ni_def_pos_2`
with the defaults below; nothing is read before a dataset is built. `register` and `add`
register anew, with another folder, vocabulary or format.
"""

import functools
import os
from collections.abc import Iterator
from typing import Any

import seqio
import tensorflow as tf

from hyperx.data import metrics, sources, vocabularies
from hyperx.data.super_ni import formats as super_ni_format
from hyperx.data.super_ni import splits as super_ni

FEATURES = ("condition", "inputs", "prompt", "targets")
STRINGS = (*FEATURES, "task", "category", "id")


def register(
    directory: str | os.PathLike[str] | None = None, **options: Any
) -> tuple[str, ...]:
    """Registers the three published formats (again, if need be); returns their names.

    Args:
      directory: a checkout of allenai/natural-instructions, or `hf:` and the name of a
        data set on the Hugging Face hub, which has definitions only; None takes the
        environment variable SUPER_NI_DIR when data are read.
      **options: `vocabulary`, `skip_malformed`, `max_instances`, `seed`: see `add`.
    """
    formats = [super_ni_format.Format(positives=k) for k in (0, 1, 2)]
    return tuple(add(form, directory, **options) for form in formats)


def add(
    form: super_ni_format.Format,
    directory: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str = vocabularies.T5,
    skip_malformed: bool = False,
    max_instances: int = 100,
    seed: int = 42,
) -> str:
    """Registers one format as a seqio task and returns its name.

    A task of that name is replaced. Beside the features, an example keeps `references`
    (strings), `task`, `category` and `id`.

    Args:
      form: what is told of a task; gives the name, e.g. `super_ni_def_pos_2`.
      directory: as in `register`.
      vocabulary: name of the vocabulary of all features (`vocabularies.get`).
      skip_malformed: leave malformed task files out, logged, instead of raising.
      max_instances: instances kept of each task.
      seed: draws the training target among an instance's references.
    """
    name = f"super_ni_{form.name}"
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    tokens = vocabularies.get(vocabulary)
    seqio.TaskRegistry.add(
        name,
        source=_Source(
            functools.partial(
                super_ni.read_split,
                directory,
                max_instances=max_instances,
                skip_malformed=skip_malformed,
            ),
            form,
            tokens,
            seed,
        ),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(tokens, add_eos=True) for f in FEATURES},
        postprocess_fn=metrics.postprocess,
        metric_fns=[metrics.generation],
        shuffle_buffer_size=sources.SHUFFLE_BUFFER,
    )
    return name


class _Source(seqio.FunctionDataSource):
    """Reads each split once, when first asked for it."""

    def __init__(self, read_split, form, vocabulary, seed):
        self._read_split = functools.cache(read_split)
        self._form = form
        self._vocabulary = vocabulary
        self._seed = seed
        super().__init__(self._dataset, splits=super_ni.SPLITS)

    def num_input_examples(self, split: str) -> int:
        return self._read_split(split).num_instances

    def _dataset(
        self, split: str, shuffle_files: bool, seed: int | None = None
    ) -> tf.data.Dataset:
        # One file per task would be shuffled coarsely; the buffer shuffles instances.
        # The texts and targets are the same in every epoch, as in HINT's cached data.
        del shuffle_files, seed
        read = self._read_split(split)
        for task in read.tasks:
            self._form.check(task)  # Here: tf.data would make another error of it.
        spec = {name: tf.TensorSpec([], tf.string) for name in STRINGS}
        spec["references"] = tf.TensorSpec([None], tf.string)

        def rows() -> Iterator[dict[str, Any]]:
            return super_ni_format.examples(
                read,
                self._form,
                lambda text: len(self._vocabulary.encode(text)) + 1,
                seed=self._seed if split == "train" else None,
            )

        return tf.data.Dataset.from_generator(rows, output_signature=spec)


register()
