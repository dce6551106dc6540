"""Rows on their way into a cache: converted, counted and described."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

_DTYPES = {"int32", "int64", "bool", "float32", "string"}  # seqio reads these

Row = Mapping[str, tf.Tensor | tf.RaggedTensor]


class Rows:
    """Converts the rows of a split and keeps what is told of them.

    Attributes:
      columns: shape and type by name.
      stats: `examples`, and of each feature `<name>_tokens` and `<name>_max_tokens`.
    """

    def __init__(self, task: seqio.Task, split: str):
        self._task, self._split = task, split
        self.columns: dict[str, dict[str, Any]] = {}
        self.stats = {"examples": 0}

    def add(self, row: Row) -> tf.train.Example:
        """Counts a row and converts it."""
        columns = {name: _column(value) for name, value in row.items()}
        if columns != self.columns:
            self._check_columns(columns)
        self.stats["examples"] += 1
        # Ragged columns; seqio's conversion takes ten times as long for the others.
        example = seqio.dict_to_tfexample(
            {k: v for k, v in row.items() if isinstance(v, tf.RaggedTensor)}
        )
        for name, value in row.items():
            if not isinstance(value, tf.RaggedTensor):
                # As objects, since NumPy's strings drop a NUL at their end.
                kind = object if value.dtype == tf.string else None
                array = np.asarray(value.numpy(), kind)
                _fill(example.features.feature[name], array.ravel())
                if name in self._task.output_features:
                    self._count(name, array)
        return example

    def check(self) -> None:
        """Raises ValueError if there were no rows."""
        if not self.stats["examples"]:
            raise ValueError(
                f"expected rows in {self._task.name}, split {self._split!r}, got none"
            )

    def _check_columns(self, columns: dict[str, dict[str, Any]]) -> None:
        wrong = {n: c["dtype"] for n, c in columns.items() if c["dtype"] not in _DTYPES}
        if wrong:
            raise ValueError(
                f"expected columns of {sorted(_DTYPES)} in {self._task.name}, which "
                f"seqio can read from a cache, got {wrong}"
            )
        if self.columns:
            raise ValueError(
                f"expected rows of equal columns in {self._task.name}, split "
                f"{self._split!r}, got {self.columns}, then {columns}"
            )
        self.columns = columns

    def _count(self, name: str, tokens: np.ndarray) -> None:
        """As seqio counts: neither padding nor ends of sequence."""
        if tokens.dtype.kind != "i":
            return
        vocabulary = self._task.output_features[name].vocabulary
        ignored = [i for i in (vocabulary.eos_id, vocabulary.pad_id) if i is not None]
        count = int((~np.isin(tokens, ignored)).sum())
        total, longest = f"{name}_tokens", f"{name}_max_tokens"
        self.stats[total] = self.stats.get(total, 0) + count
        self.stats[longest] = max(self.stats.get(longest, 0), count)


def _column(value: tf.Tensor | tf.RaggedTensor) -> dict[str, Any]:
    """Shape, its first axis open, and type, as seqio's info has them."""
    shape = value.shape.as_list()
    return {"shape": [None, *shape[1:]] if shape else [], "dtype": value.dtype.name}


def _fill(feature: tf.train.Feature, values: np.ndarray) -> None:
    kind = values.dtype.kind
    if kind in "bi":
        feature.int64_list.value.extend(values.astype(np.int64).tolist())
    elif kind == "f":
        feature.float_list.value.extend(values.tolist())
    else:
        feature.bytes_list.value.extend(values.tolist())
