"""seqio sources of P3's prompts, with the conditions that are wanted."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from hyperx.data import sources
from hyperx.data.p3 import files as p3
from hyperx.data.p3 import formats as p3_format
from hyperx.data.p3 import instruction as p3_instruction
from hyperx.data.p3 import lists as p3_lists
from hyperx.data.p3 import promptsource
from hyperx.data.p3 import rows as p3_rows

_TOKENS = tf.TensorSpec([None], tf.int32)
_COLUMNS = (
    dict.fromkeys(p3_format.FEATURES, _TOKENS)
    | {f"{name}_pretokenized": sources.TEXT for name in p3_format.FEATURES}
    | dict.fromkeys(("task", "id", "category"), sources.TEXT)
    | {"references": sources.TEXTS}
)
_RANKED = {"choices": sources.TEXTS, "answer": sources.NUMBER}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """Prompts and what is told of them.

    Attributes:
      collection: of prompts.
      templates: promptsource's folder, if there is one.
      form: what is told of a prompt.
      vocabulary: of all features.
      max_examples: of a training split, a random draw (the same each time) of so many
        examples; all if None. A split is held in memory while it is read.
      skip_malformed: leave malformed examples out, logged, instead of raising.

    Raises:
      ValueError: the form needs sentinels that the vocabulary has not.
    """

    collection: p3.Collection
    templates: str | os.PathLike[str] | None
    form: p3_format.Format
    vocabulary: seqio.Vocabulary
    max_examples: int | None
    skip_malformed: bool

    def __post_init__(self):
        extra_ids = self.vocabulary.extra_ids
        if self.form.condition == "few_shot" and extra_ids < 100:
            raise ValueError(
                "expected a vocabulary with 100 sentinels for few-shot conditions, got "
                f"{self.vocabulary}, which has {extra_ids}"
            )

    def examples(self, configuration: str, split: str) -> tuple[p3_rows.Example, ...]:
        read = _read(self.collection, configuration, split, self.skip_malformed)
        if split != "train" or len(read) <= (self.max_examples or len(read)):
            return read
        random = np.random.default_rng(self.form.seed)
        kept = random.choice(len(read), self.max_examples, replace=False)
        return tuple(read[i] for i in sorted(kept))

    def support(
        self, configuration: str, split: str
    ) -> tuple[p3_rows.Example, ...] | None:
        """Of what to draw the examples to tell; None of the split itself."""
        if split == "train" or not self.form.tells_examples:
            return None
        plain = configuration.removesuffix(p3_lists.SCORE_EVAL)
        for name in (configuration, plain):
            if "train" in self.collection.splits.get(name, ()):
                return self.examples(name, "train")
        raise FileNotFoundError(
            f"expected a split train of {configuration} or {plain}, to tell examples "
            f"of it (condition={self.form.condition!r}), found none"
        )

    def writer(self, configuration: str) -> p3_format.Writer:
        told = ""
        plain = configuration.removesuffix(p3_lists.SCORE_EVAL)
        if self.form.tells_template:
            told = p3_instruction.of(self._template(plain))
        elif self.form.condition == "name":
            told = plain
        vocabulary = self.vocabulary
        return p3_format.Writer(
            self.form, vocabulary.encode, vocabulary.vocab_size, told
        )

    def _template(self, configuration: str) -> promptsource.Template:
        if self.templates is None:
            raise FileNotFoundError(
                f"expected a folder of templates for condition={self.form.condition!r},"
                f" got none; {promptsource.HOW_TO_GET}"
            )
        known = promptsource.read_folder(self.templates)
        name = p3_lists.without_round(configuration)
        if name not in known:
            raise FileNotFoundError(
                f"expected the template of {name} in {self.templates}, which has "
                f"{len(known)} others; {promptsource.HOW_TO_GET}"
            )
        return known[name]


class Source(sources.TextSource):
    """The rows of a configuration; its splits are read when asked for."""

    def __init__(self, prompts: Prompts, configuration: str):
        self._prompts = prompts
        self._configuration = configuration
        is_ranked = configuration.endswith(p3_lists.SCORE_EVAL)
        super().__init__(
            self._rows_of,
            splits=tuple(prompts.collection.splits[configuration]),
            columns=_COLUMNS | (_RANKED if is_ranked else {}),
        )

    def num_input_examples(self, split: str) -> int:
        examples = self._prompts.examples(self._configuration, split)
        return self._prompts.form.count(len(examples), are_episodes=split == "train")

    def _rows_of(self, split: str) -> Callable[[], Iterator[dict[str, Any]]]:
        # Here: tf.data would make other errors of theirs.
        examples = self._prompts.examples(self._configuration, split)
        support = self._prompts.support(self._configuration, split)
        writer = self._prompts.writer(self._configuration)
        task = self._configuration.removesuffix(p3_lists.SCORE_EVAL)
        category = {"category": p3_lists.group_of(task)}

        def rows() -> Iterator[dict[str, Any]]:
            form = self._prompts.form
            for row in p3_format.rows(task, examples, support, form, writer):
                yield row | category

        return rows


# seqio asks for the size of a split and then for its rows.
@functools.lru_cache(maxsize=3)
def _read(
    collection: p3.Collection, configuration: str, split: str, skip_malformed: bool
) -> tuple[p3_rows.Example, ...]:
    return collection.read(configuration, split, skip_malformed=skip_malformed)
