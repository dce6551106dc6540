"""seqio sources of text examples that are made in Python."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

TEXT = tf.TensorSpec([], tf.string)
TEXTS = tf.TensorSpec([None], tf.string)
NUMBER = tf.TensorSpec([], tf.int32)

# For tasks that are few: a draw of examples to evaluate on is among so many; seqio's
# 1,000 would be the first articles of a set. Training here arranges rows by itself.
SHUFFLE_BUFFER = 100_000

# Makes the rows of a split anew: one dictionary each, by column.
MakeRows = Callable[[], Iterator[Mapping[str, Any]]]


class TextSource(seqio.FunctionDataSource):
    """Reads a split whole when a data set of it is built, and makes rows of it.

    So what is wrong with a file is raised as it is; tf.data would make another error of
    it. Shuffling is left to whoever makes batches of the rows.

    Args:
      read: takes a split, reads its files and returns what makes its rows.
      splits: those there are.
      columns: the columns and their kinds, `TEXT`, `TEXTS` or `NUMBER`.
    """

    def __init__(
        self,
        read: Callable[[str], MakeRows],
        *,
        splits: Sequence[str],
        columns: Mapping[str, tf.TensorSpec],
    ):
        self._read = read
        self._columns = dict(columns)
        self._count = functools.cache(lambda split: sum(1 for _ in read(split)()))
        super().__init__(self._dataset, splits=splits)

    def num_input_examples(self, split: str) -> int:
        """The number of rows, which are made to be counted at the first call."""
        return self._count(split)

    def _dataset(
        self, split: str, shuffle_files: bool, seed: int | None = None
    ) -> tf.data.Dataset:
        del shuffle_files, seed
        read = [self._read(split)]

        def rows() -> Iterator[Mapping[str, Any]]:
            # TensorFlow keeps this function for ever; what was read must not stay.
            make = read.pop() if read else self._read(split)
            yield from make()

        return tf.data.Dataset.from_generator(rows, output_signature=self._columns)
