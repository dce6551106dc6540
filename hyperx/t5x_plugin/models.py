"""The model that t5x trains, evaluates and infers with."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import core

from hyperx.config import T5Config
from hyperx.data import vocabularies
from hyperx.methods.method import Method
from hyperx.model import ModelConfig
from hyperx.ops import losses
from hyperx.t5x_plugin.feature_converters import RowFeatureConverter
from hyperx.t5x_plugin.library import models, optimizers
from hyperx.t5x_plugin.rows import Batch, Rows


class HyperEncoderDecoderModel(models.BaseTransformerModel):
    """A T5 and its hypernetwork as a model of t5x.

    The loss and its metrics are t5x's own, of hyperx's logits; decoding is hyperx's.

    Attributes:
        rows: the model on batches of t5x.
        vocabulary_name: see `hyperx.data.vocabularies.get`.

    Args:
        backbone: sizes of the T5.
        method: what adapts it.
        vocabulary: see `hyperx.data.vocabularies.get`; the tasks must have the same.
        optimizer_def: an optimizer of t5x, such as `optimizers.Adafactor`.
        label_smoothing: as in t5x.
        z_loss: as in t5x.
        loss_normalizing_factor: as in t5x.
        registered: tasks that a configuration registered on the way here.

    Raises:
        ValueError: if the vocabulary is larger than the backbone's, or the method reads
            numbers of tasks.
    """

    def __init__(
        self,
        *,
        backbone: T5Config,
        method: Method,
        vocabulary: str,
        optimizer_def: optimizers.OptimizerDef,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        loss_normalizing_factor: float | int | str | None = None,
        registered: Sequence[str] = (),
    ) -> None:
        del registered
        words = vocabularies.get(vocabulary)
        if words.vocab_size > backbone.vocab_size:
            raise ValueError(
                f"expected VOCAB_SIZE of at least {words.vocab_size} for vocabulary "
                f"{vocabulary!r}, got {backbone.vocab_size}"
            )
        self.vocabulary_name = vocabulary
        self.rows = Rows(ModelConfig(backbone=backbone, method=method))
        self.FEATURE_CONVERTER_CLS = functools.partial(
            RowFeatureConverter, method.reads
        )
        super().__init__(
            module=self.rows.module,
            input_vocabulary=words,
            output_vocabulary=words,
            optimizer_def=optimizer_def,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            loss_normalizing_factor=loss_normalizing_factor,
        )

    def get_initial_variables(
        self,
        rng: jax.Array,
        input_shapes: Mapping[str, Any],
        input_types: Mapping[str, Any] | None = None,
    ) -> core.FrozenDict:
        """``params`` and ``params_axes``; no shape of the input matters to them."""
        del input_shapes, input_types
        return core.freeze(self.rows.initial_variables(rng))

    def predict_batch_with_aux(
        self,
        params: Any,
        batch: Batch,
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Greedy decoding: tokens ``[B, T]`` and ``scores [B]``; needs no `rng`."""
        del rng
        tokens, scores = self.rows.greedy(core.unfreeze(params), batch)
        return tokens, {"scores": scores}

    def score_batch(
        self, params: Any, batch: Batch, return_intermediates: bool = False
    ) -> Any:
        """Log-probability of the targets ``[B]``.

        With `return_intermediates` also what t5x's own models tell of the decoder:
        ``target_tokens``, ``loss_weights`` and ``token_scores``, ``[B, T]`` each.
        """
        targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        logits = self._compute_logits(params, batch)
        by_token = -losses.cross_entropy(logits, targets) * weights
        if not return_intermediates:
            return by_token.sum(-1)
        decoder = {
            "target_tokens": (targets,),
            "loss_weights": (weights,),
            "token_scores": (by_token,),
        }
        return by_token.sum(-1), {"decoder": decoder}

    def _compute_logits(
        self, params: Any, batch: Batch, dropout_rng: jax.Array | None = None
    ) -> jax.Array:
        return self.rows.logits(core.unfreeze(params), batch, dropout_rng)
