"""The loop that decodes token by token, and may pause after any of them.

All that does not change from token to token is computed before: the generated weights,
the encoded inputs, and the cross-attention keys and values of both the inputs and the
fused conditions. None of it is copied over hypotheses.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hyperx.backbone import steps
from hyperx.backbone.steps import Weights
from hyperx.backbone.t5 import PAD
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.inference.decoding import beam, sampling
from hyperx.inference.decoding.requests import Requests
from hyperx.inference.decoding.running import Running
from hyperx.inference.decoding.strategies import Shape
from hyperx.model import HyperModel
from hyperx.task_state import TaskState


def generate(
    model: HyperModel,
    params: Any,
    weights: Weights,
    tokens: jax.Array,
    state: TaskState,
    requests: Requests,
    shape: Shape,
) -> tuple[jax.Array, jax.Array]:
    """Outputs of inputs under a state, decoded to their end.

    Args:
        model: the module.
        params: its parameters.
        weights: of them those of decoding, `hyperx.backbone.steps.weights_of`.
        tokens: inputs ``[G, R, S]``; a row of padding alone is not decoded.
        state: of the G conditions, or of one for all groups.
        requests: of the rows, ``[G, R]``.
        shape: of what is computed.

    Returns:
        Tokens ``[G, R, W, T]``, EOS included, padded after it; and the log-probability
        of each output ``[G, R, W]``. Those of a beam search are in order, best first.
    """
    running = begin(model, params, tokens, state, requests, shape)
    running = advance(model, weights, running, jnp.int32(shape.length))
    return running.tokens, running.scores


def begin(
    model: HyperModel,
    params: Any,
    tokens: jax.Array,
    state: TaskState,
    requests: Requests,
    shape: Shape,
) -> Running:
    """All that precedes the first token; see `generate`."""
    inputs, conditioning = model.apply(
        {"params": params}, tokens, Conditioning.of(state), method="start"
    )
    prepared = steps.prepare(
        model.config,
        params,
        conditioning.decoder,
        conditioning.sources(inputs),
        shape.length,
    )
    leading = (*tokens.shape[:2], shape.hypotheses)
    own = jnp.arange(shape.hypotheses)
    # Beams are all the same at first: one of them counts.
    ahead = jnp.where(own > 0, -jnp.inf, 0.0) if shape.beam else jnp.zeros(own.shape)
    return Running(
        position=jnp.zeros((), jnp.int32),
        tokens=jnp.full((*leading, shape.length), PAD, jnp.int32),
        lengths=jnp.zeros(leading, jnp.int32),
        scores=jnp.broadcast_to(ahead, leading),
        done=_along(jnp.all(tokens == PAD, axis=-1), shape.hypotheses),
        caches=steps.start_caches(model.config, prepared, shape.hypotheses),
        ancestors=_ancestors(leading, shape.length),
        keys=_keys(requests.seed, tokens, shape.hypotheses),
        requests=jax.tree.map(jnp.asarray, requests),
        steps=prepared,
        beam=shape.beam,
    )


def advance(
    model: HyperModel, weights: Weights, running: Running, count: jax.Array
) -> Running:
    """Up to `count` tokens later, or when all hypotheses have ended."""
    length = running.tokens.shape[-1]
    end = jnp.minimum(running.position + count, length)
    choose = beam.chosen if running.beam else sampling.chosen

    def step(running: Running) -> Running:
        logits, running = next_logits(model, weights, running)
        return choose(logits, running)

    return jax.lax.while_loop(
        lambda running: (running.position < end) & ~jnp.all(running.done), step, running
    )


def next_logits(
    model: HyperModel, weights: Weights, running: Running
) -> tuple[jax.Array, Running]:
    """Logits ``[G, R, W, V]`` of the next tokens; and keys and values in the caches."""
    # Groups and rows of the model: those of the batch, or a group for every row.
    grid = running.steps.rows
    last, mask = running.last, running.mask()
    logits, caches = steps.step(
        model.config,
        weights,
        last.reshape(*grid, -1),
        running.steps,
        running.caches,
        running.position,
        None if mask is None else mask.reshape(*grid, *mask.shape[2:]),
    )
    return logits.reshape(*last.shape, -1), running.replace(caches=caches)


def _along(x: jax.Array, hypotheses: int) -> jax.Array:
    return jnp.broadcast_to(x[..., None], (*x.shape, hypotheses))


def _ancestors(leading: tuple[int, int, int], length: int) -> jax.Array | None:
    """Each hypothesis has written all of itself."""
    if leading[2] == 1:
        return None
    own = jnp.arange(leading[2]).reshape(1, 1, -1, 1)
    return jnp.broadcast_to(own, (*leading, length))


def _keys(seeds: jax.Array, tokens: jax.Array, hypotheses: int) -> jax.Array:
    """Random keys ``[G, R, W]`` of a seed and what a row is, not of where it lies.

    Args:
        seeds: ``[G, R]``.
        tokens: ``[G, R, S]``; padding counts for nothing.
        hypotheses: W.
    """
    odd = 2 * jnp.arange(tokens.shape[-1], dtype=jnp.uint32) + 1
    content = jnp.sum(tokens.astype(jnp.uint32) * odd.reshape(1, 1, -1), axis=-1)

    def of_row(seed: jax.Array, content: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), content)
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(hypotheses))

    keys = jax.vmap(of_row)(seeds.reshape(-1), content.reshape(-1))
    return keys.reshape(*seeds.shape, hypotheses)
