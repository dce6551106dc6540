"""Reference mode: a task served as the published code of HINT serves it.

Every row reads the condition and generates its weights. Keys and values of memory and
input are projected at every decoding step. Every beam has copies of its row's weights,
memory and input, and the cache is moved where beams change places. Outputs are those of
hyperx; none of this is in the package.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from hyperx.adaptation import Encoded, LayerAdaptation
from hyperx.backbone.blocks import Cache, DecoderBlock, LayerInputs, SharedInputs
from hyperx.backbone.steps import Caches
from hyperx.backbone.t5 import PAD, T5
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.inference.decoding import Requests, Running, Shape, beam, sampling
from hyperx.model import HyperModel


@struct.dataclass
class Copies:
    """What each of N = B * W hypotheses has for itself.

    Attributes:
        parts: generated weights of each decoder layer, leaves ``[N, ...]``.
        sources: memory ``[N, I, D]`` and input ``[N, 1, S, D]``, not projected.
    """

    parts: tuple[LayerAdaptation, ...]
    sources: tuple[Encoded, ...]


def generate(
    model: HyperModel,
    params: Mapping[str, Any],
    conditions: jax.Array,
    tokens: jax.Array,
    requests: Requests,
    shape: Shape,
) -> tuple[jax.Array, jax.Array]:
    """Outputs of B rows, decoded greedily or by beam search.

    Args:
        model: the module.
        params: its parameters.
        conditions: of every row, ``[B, I]``.
        tokens: inputs ``[B, 1, S]``: every row is a group.
        requests: of the rows ``[B, 1]``.
        shape: of what is computed.

    Returns:
        Tokens ``[B, 1, W, T]`` and log-probabilities ``[B, 1, W]``; see
        `hyperx.inference.decoding.loop.generate`.
    """
    config, copies = model.config, _read(model, params, conditions, tokens, shape)
    layers = _unstacked(params["decoder"]["layers"], config.num_decoder_layers)
    choose = beam.chosen if shape.beam else sampling.chosen

    def step(running: Running) -> Running:
        logits, caches = _step(config, params, layers, copies, running)
        before = running.position
        running = choose(logits, running.replace(caches=caches))
        if running.ancestors is None:
            return running
        return running.replace(caches=_moved(running, before))

    running = _start(config, tokens, requests, shape)
    running = jax.lax.while_loop(
        lambda running: (running.position < shape.length) & ~jnp.all(running.done),
        step,
        running,
    )
    return running.tokens, running.scores


def _read(
    model: HyperModel,
    params: Mapping[str, Any],
    conditions: jax.Array,
    tokens: jax.Array,
    shape: Shape,
) -> Copies:
    """Reads every row's condition and input, and copies all of it for every beam."""
    variables = {"params": params}
    conditioning = model.apply(variables, conditions, method="condition")
    encoder, decoder = (
        emission.materialize()
        for emission in (conditioning.encoder, conditioning.decoder)
    )
    conditioning = conditioning.replace(encoder=Emission.precomputed(encoder))
    encoded, _ = model.apply(variables, tokens, conditioning, method="encode")
    parts = _unstacked(decoder, model.config.num_decoder_layers)
    copies = Copies(parts, conditioning.sources(encoded))
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, shape.hypotheses, 0), copies)


def _start(
    config: T5Config, tokens: jax.Array, requests: Requests, shape: Shape
) -> Running:
    leading = (*tokens.shape[:2], shape.hypotheses)
    own = jnp.arange(shape.hypotheses)
    ahead = jnp.where(own > 0, -jnp.inf, 0.0) if shape.beam else jnp.zeros(own.shape)
    size, ancestors = leading[0] * shape.hypotheses, None
    if shape.hypotheses > 1:
        ancestors = jnp.zeros((*leading, shape.length), own.dtype)
    return Running(
        position=jnp.zeros((), jnp.int32),
        tokens=jnp.full((*leading, shape.length), PAD, jnp.int32),
        lengths=jnp.zeros(leading, jnp.int32),
        scores=jnp.broadcast_to(ahead, leading),
        done=jnp.zeros(leading, bool),
        caches=(Cache.empty(config, size, 1, shape.length),)
        * config.num_decoder_layers,
        ancestors=ancestors,
        keys=jax.random.split(jax.random.key(0), leading),
        requests=jax.tree.map(jnp.asarray, requests),
        steps=None,
        beam=shape.beam,
    )


def _step(
    config: T5Config,
    params: Mapping[str, Any],
    layers: tuple[Any, ...],
    copies: Copies,
    running: Running,
) -> tuple[jax.Array, Caches]:
    """Logits ``[B, 1, W, V]`` of the next tokens, and the caches with their keys."""
    outer, block, variables = T5(config), DecoderBlock(config), {"params": params}
    # With the position the sources seem to change: or else the compiler may move their
    # projections out of the loop.
    position, sources = jax.lax.optimization_barrier((running.position, copies.sources))
    keys = jnp.arange(running.tokens.shape[-1])
    x = outer.apply(variables, running.last.reshape(-1, 1, 1), method="embed")
    shared = SharedInputs(
        Emission.precomputed(None).emit,
        bias=outer.apply(variables, position[None], keys, method="bias"),
        sources=sources,
        position=position,
    )
    caches = []
    for own, parts, cache in zip(layers, copies.parts, running.caches, strict=True):
        layer = LayerInputs(parts, cache=cache)
        x, cache = block.apply({"params": own}, x, layer, shared)
        caches.append(cache)
    logits = outer.apply(variables, x, method=_logits)
    return logits.reshape(*running.last.shape, -1), tuple(caches)


def _logits(backbone: T5, x: jax.Array) -> jax.Array:
    """Logits ``[N, 1, 1, V]`` of what the last layer writes."""
    x = backbone.normal(x).astype(jnp.float32)
    if backbone.config.tie_embeddings:
        return backbone.token_embedder.attend(x)
    return backbone.decoder.logits_dense(x)


def _moved(running: Running, position: jax.Array) -> Caches:
    """Caches of the hypotheses that those of `running` continue since `position`."""
    parents = jax.lax.dynamic_index_in_dim(
        running.ancestors, position, axis=3, keepdims=False
    )
    rows, _, hypotheses = parents.shape
    first = jnp.arange(rows)[:, None] * hypotheses
    index = (parents.reshape(rows, hypotheses) + first).reshape(-1)
    return jax.tree.map(lambda leaf: leaf[index], running.caches)


def _unstacked(tree: Any, layers: int) -> tuple[Any, ...]:
    """Trees of each layer of one with axis L in front."""
    return tuple(
        jax.tree.map(lambda leaf, layer=layer: leaf[layer], tree)
        for layer in range(layers)
    )
