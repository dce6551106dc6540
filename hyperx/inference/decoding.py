"""Greedy decoding in one compiled loop.

Everything that does not change from token to token is computed before the loop: the
generated weights, the encoded inputs, and the cross-attention keys and values of both
the inputs and the fused condition.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from hyperx.backbone.blocks import Cache
from hyperx.backbone.t5 import PAD, start_cache
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.model import HyperModel
from hyperx.task_state import TaskState

EOS = 1


@struct.dataclass
class _Loop:
    """State of the decoding loop.

    Attributes:
        position: of the next token.
        tokens: written so far, ``[G, R, T]``, padded.
        last: the token before `position`, ``[G, R]``.
        done: rows that have ended, ``[G, R]``.
        score: log-probability of each row so far, ``[G, R]``.
        cache: of decoder self-attention.
    """

    position: jax.Array
    tokens: jax.Array
    last: jax.Array
    done: jax.Array
    score: jax.Array
    cache: Cache


def greedy(
    model: HyperModel,
    params: Any,
    encoder_tokens: jax.Array,
    state: TaskState,
    *,
    max_new_tokens: int,
) -> tuple[jax.Array, jax.Array]:
    """Decodes the most likely token at every position until all rows have ended.

    Args:
        model: the module.
        params: its parameters.
        encoder_tokens: ``[G, R, S]``; a row of padding alone is not decoded.
        state: of the G conditions, or of one for all groups.
        max_new_tokens: length of the result (T).

    Returns:
        Tokens ``[G, R, T]``, EOS included, padded after it; and the log-probability of
        each row ``[G, R]``.
    """
    variables = {"params": params}
    inputs, conditioning = model.apply(
        variables, encoder_tokens, Conditioning.of(state), method="start"
    )

    def step(loop: _Loop) -> _Loop:
        logits, cache = model.apply(
            variables,
            loop.last,
            conditioning,
            inputs,
            loop.cache,
            loop.position,
            method="step",
        )
        token = jnp.where(loop.done, PAD, jnp.argmax(logits, axis=-1))
        chosen = jnp.take_along_axis(
            jax.nn.log_softmax(logits), token[..., None], axis=-1
        )[..., 0]
        return _Loop(
            position=loop.position + 1,
            tokens=jax.lax.dynamic_update_index_in_dim(
                loop.tokens, token, loop.position, axis=2
            ),
            last=token,
            done=loop.done | (token == EOS),
            score=loop.score + jnp.where(loop.done, 0.0, chosen),
            cache=cache,
        )

    groups, rows = inputs.mask.shape[:2]
    start = _Loop(
        position=jnp.zeros((), jnp.int32),
        tokens=jnp.zeros((groups, rows, max_new_tokens), jnp.int32),
        last=jnp.zeros((groups, rows), jnp.int32),
        done=jnp.all(encoder_tokens == PAD, axis=-1).reshape(groups, rows),
        score=jnp.zeros((groups, rows), jnp.float32),
        cache=start_cache(model.config, groups, rows, max_new_tokens),
    )
    running = jax.lax.while_loop(
        lambda loop: (loop.position < max_new_tokens) & ~jnp.all(loop.done), step, start
    )
    leading = encoder_tokens.shape[:2]
    return running.tokens.reshape(*leading, -1), running.score.reshape(leading)
