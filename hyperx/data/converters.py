"""seqio task features to what a model reads: names, lengths and padding."""

from collections.abc import Mapping

import seqio
import tensorflow as tf

READS = ("condition", "task", "prompt", "inputs")


def model_features(reads: str) -> dict[str, str]:
    """Model feature to the task feature it is made of, for one of `READS`."""
    if reads not in READS:
        raise ValueError(f"expected reads to be one of {READS}, got {reads!r}")
    condition = {"condition_tokens": "condition"} if reads == "condition" else {}
    return condition | {
        "encoder_tokens": "prompt" if reads == "prompt" else "inputs",
        "decoder_target_tokens": "targets",
    }


class RowConverter(seqio.FeatureConverter):
    """One example to one row, padded on the right with 0.

    `condition_tokens` [I] (only if the model reads the condition apart),
    `encoder_tokens` [S] and `decoder_target_tokens` [T], int32. A sequence that is too
    long is cut but keeps its last token, the end of sequence. So the converter wants
    whole sequences, and it does the cutting itself: the lengths are its own, and those
    it is called with only say how long the sequences are at most.

    Args:
      feature_lengths: wanted length by task feature.
      reads: one of `READS`.
      task_features: names of all output features of the tasks.

    Raises:
      ValueError: a task feature, or its length, that `reads` asks for is missing.
    """

    PACKING_FEATURE_DTYPES = None

    def __init__(
        self,
        feature_lengths: Mapping[str, int],
        reads: str,
        task_features: tuple[str, ...],
    ):
        self._sources = model_features(reads)
        given = {"task features": task_features, "feature lengths": feature_lengths}
        for what, names in given.items():
            if not set(self._sources.values()) <= set(names):
                raise ValueError(
                    f"reads={reads!r} expected the {what} "
                    f"{sorted(self._sources.values())}, got {sorted(names)}"
                )
        self._lengths = {
            name: feature_lengths[source] for name, source in self._sources.items()
        }
        spec = self.FeatureSpec(dtype=tf.int32)
        self.TASK_FEATURES = dict.fromkeys(task_features, spec)
        self.MODEL_FEATURES = dict.fromkeys(self._sources, spec)
        super().__init__(pack=False)

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> Mapping[str, int]:
        return self._lengths

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        return ds.map(self._convert, num_parallel_calls=tf.data.AUTOTUNE)

    def _convert(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            name: _fit(example[source], self._lengths[name])
            for name, source in self._sources.items()
        }


def _fit(tokens: tf.Tensor, length: int) -> tf.Tensor:
    """[any] to [length]: cut before the last token, or padded."""
    tokens = tf.concat([tokens[: length - 1], tokens[length - 1 :][-1:]], axis=0)
    tokens = tf.pad(tokens, [[0, length - tf.size(tokens)]])
    return tf.ensure_shape(tokens, [length])
