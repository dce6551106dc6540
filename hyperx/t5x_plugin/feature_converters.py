"""seqio features to those of t5x's encoder-decoder models, and conditions."""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from hyperx.data import converters

_RENAMED = {"encoder_tokens": "encoder_input_tokens"}
_TARGETS = "decoder_target_tokens"


class RowFeatureConverter(seqio.FeatureConverter):
    """One example to one row, as `seqio.EncDecFeatureConverter` and with a condition.

    ``encoder_input_tokens [S]``, ``decoder_target_tokens [T]``,
    ``decoder_input_tokens [T]`` (the targets, one later), ``decoder_loss_weights [T]``
    (1 for tokens, 0 for padding) and, if the model reads the condition apart,
    ``condition_tokens [I]``; int32. Sequences are cut at their end to the length of
    their feature, which seqio's tasks have done before they appended the end of
    sequence, and padded with 0.

    Args:
        reads: "condition", "prompt" or "inputs"; see `hyperx.methods.method.Method`.
        pack: must be False: a packed row would need several conditions.
        use_custom_packing_ops: has no effect without packing.

    Raises:
        ValueError: if rows shall be packed.
    """

    PACKING_FEATURE_DTYPES = None

    def __init__(
        self, reads: str, pack: bool = False, use_custom_packing_ops: bool = False
    ):
        if pack:
            raise ValueError(
                "expected pack = False in every utils.DatasetConfig, got True: a "
                "packed row would need several conditions"
            )
        del use_custom_packing_ops
        self._sources = {
            _RENAMED.get(name, name): source
            for name, source in converters.model_features(reads).items()
        }
        spec = self.FeatureSpec(dtype=tf.int32)
        self.TASK_FEATURES = dict.fromkeys(self._sources.values(), spec)
        names = (*self._sources, "decoder_input_tokens", "decoder_loss_weights")
        self.MODEL_FEATURES = dict.fromkeys(names, spec)
        super().__init__(pack=False)

    def __call__(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        """Converts; lengths of features that the model does not read are ignored."""
        own = {
            name: length
            for name, length in task_feature_lengths.items()
            if name in self.TASK_FEATURES
        }
        return super().__call__(ds, own)

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> Mapping[str, int]:
        """The length of a feature is that of the task's feature it is made of."""
        return {
            name: task_feature_lengths[self._sources.get(name, self._sources[_TARGETS])]
            for name in self.MODEL_FEATURES
        }

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        ds = self._pack_or_pad(ds, task_feature_lengths)
        return ds.map(self._convert, num_parallel_calls=tf.data.AUTOTUNE)

    def _convert(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        row = {name: example[source] for name, source in self._sources.items()}
        targets = row[_TARGETS]
        return row | {
            "decoder_input_tokens": seqio.utils.make_autoregressive_inputs(targets),
            "decoder_loss_weights": seqio.non_padding_position(targets),
        }
