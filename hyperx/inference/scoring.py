"""How likely given outputs are: all choices of an input, which is encoded once."""

from typing import Any

import jax
import jax.numpy as jnp

from hyperx.backbone.t5 import PAD
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.model import HyperModel
from hyperx.ops import losses
from hyperx.task_state import TaskState


def log_probabilities(
    model: HyperModel,
    params: Any,
    encoder_tokens: jax.Array,
    choices: jax.Array,
    state: TaskState,
) -> jax.Array:
    """Log-probability of each choice, summed over its tokens.

    The encoder runs, and the keys and values of cross-attention are computed, once per
    input. Choices are a mapped axis of the decoder alone: what they share has no such
    axis and is not copied.

    Args:
        model: the module.
        params: its parameters.
        encoder_tokens: ``[G, R, S]``.
        choices: outputs ``[G, R, C, T]``, EOS included, padded after it; one of
            padding alone scores 0.
        state: of the G conditions, or of one for all groups.

    Returns:
        ``[G, R, C]`` in float32, in nats.
    """
    variables = {"params": params}
    inputs, conditioning = model.apply(
        variables, encoder_tokens, Conditioning.of(state), method="start"
    )

    def score(targets: jax.Array) -> jax.Array:
        shifted = jnp.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0)))
        logits = model.apply(variables, shifted, conditioning, inputs, method="decode")
        weights = (targets != PAD).astype(jnp.float32)
        return losses.sequence_log_probability(logits, targets, weights)

    return jax.vmap(score, in_axes=2, out_axes=2)(choices)
