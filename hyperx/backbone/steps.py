"""The decoder one position at a time, as decoding runs it.

A loop over positions would copy the slice of every layer out of stacked weights, again
at every position. So the layers stand by themselves here, one after the other, and all
that does not change from position to position is made before.

The W hypotheses of a row (beams, or samples) take the place of target positions: what
they share, the row's input, the task's memory and the generated weights, is read in
place. Only self-attention tells them apart, by a mask.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from hyperx import axes, sharding
from hyperx.adaptation import LayerAdaptation, Memory
from hyperx.backbone.blocks import Cache, DecoderBlock, LayerInputs, SharedInputs
from hyperx.backbone.t5 import T5
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.ops import attention
from hyperx.ops.attention import Segment

Caches = tuple[Cache, ...]


@struct.dataclass
class Weights:
    """Parameters that a step reads.

    Attributes:
        outer: of embedding and last norm, as in the model's tree.
        head: of the output, ``[V, D]`` in float32: few rows are quicker to multiply
            with it this way round.
        layers: of each decoder layer, in the dtype of the computation.
    """

    outer: dict[str, Any]
    head: jax.Array
    layers: tuple[dict[str, Any], ...]


@struct.dataclass
class Steps:
    """What every step reads besides parameters.

    Attributes:
        layers: of each layer its generated weights, and keys and values of prefixes
            and of all that cross-attention reads.
        bias: of self-attention by distance, ``[1, 1, H, 1, 2 T - 1]``: last come the
            positions that are hidden.
        rows: G and R.
    """

    layers: tuple[LayerInputs, ...]
    bias: jax.Array
    rows: tuple[int, int] = struct.field(pytree_node=False)

    @property
    def length(self) -> int:
        """Positions that can be decoded (T)."""
        return (self.bias.shape[-1] + 1) // 2


def weights_of(config: T5Config, params: Mapping[str, Any]) -> Weights:
    """Of a model's parameters those that a step reads.

    Of layers and of an output head by itself they are copies; the rest is shared.
    """
    embedder, decoder = params["token_embedder"], params["decoder"]
    norm = {"decoder_norm": decoder["decoder_norm"]}
    return Weights(
        outer={"token_embedder": embedder, "decoder": norm},
        head=_head(config, params),
        layers=_layers(config, decoder["layers"]),
    )


@functools.partial(jax.jit, static_argnums=0)
def _layers(config: T5Config, stacked: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Parameters of each layer by itself, of those of all with axis L in front."""
    cross = "encoder_decoder_attention"
    # Its keys and values are made before the first step.
    query_and_out = {name: stacked[cross][name] for name in ("query", "out")}
    stacked = jax.tree.map(
        lambda leaf: leaf.astype(config.dtype), {**stacked, cross: query_and_out}
    )
    return _unstacked(stacked, config.num_decoder_layers)


def _head(config: T5Config, params: Mapping[str, Any]) -> jax.Array:
    if config.tie_embeddings:
        return params["token_embedder"]["embedding"]
    return _transposed(params["decoder"]["logits_dense"]["kernel"])


@jax.jit
def _transposed(kernel: jax.Array) -> jax.Array:
    return kernel.T


def prepare(
    config: T5Config,
    params: Mapping[str, Any],
    emission: Emission,
    sources: Sequence[Memory],
    length: int,
) -> Steps:
    """What all steps read.

    Args:
        config: of the backbone.
        params: of the model.
        emission: generated weights of the decoder.
        sources: what cross-attention reads, leaves ``[L, ...]``; the last, the encoded
            inputs, has G groups of R rows.
        length: positions that can be decoded (T).
    """
    variables = {"params": {"decoder": params["decoder"]}}
    last, all_keys = jnp.array([length - 1]), jnp.arange(2 * length - 1)
    layers = config.num_decoder_layers
    parts = map(emission.emit, _unstacked(emission.layers, layers))
    memories = zip(*(_memories(source, layers) for source in sources), strict=True)
    return Steps(
        layers=tuple(map(_layer, parts, memories)),
        bias=T5(config).apply(variables, last, all_keys, method="bias"),
        rows=sources[-1].mask.shape[:2],
    )


def start_caches(config: T5Config, steps: Steps, hypotheses: int) -> Caches:
    """Empty caches of all layers, for as many positions as `steps` are made for."""
    size = steps.length * hypotheses
    return tuple(
        Cache.empty(config, *steps.rows, size) for _ in range(config.num_decoder_layers)
    )


def _layer(parts: LayerAdaptation, memories: tuple[Segment, ...]) -> LayerInputs:
    """What a layer reads; keys and values of its prefixes rearranged, too."""
    own, cross = parts.self_attention, parts.cross_attention
    prefixes, others = (
        tuple(part.with_length_last() for part in attention.prefix(site.prefix))
        for site in (own, cross)
    )
    parts = parts.replace(
        self_attention=own.replace(prefix=None),
        cross_attention=cross.replace(prefix=None),
    )
    return LayerInputs(parts, (*others, *memories), prefixes)


def step(
    config: T5Config,
    weights: Weights,
    tokens: jax.Array,
    steps: Steps,
    caches: Caches,
    position: jax.Array,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, Caches]:
    """Logits of the tokens that follow.

    Args:
        config: of the backbone.
        weights: its parameters.
        tokens: at `position`, ``[G, R, W]``.
        steps: from `prepare`.
        caches: from `start_caches` or the previous step.
        position: of the tokens given; a scalar.
        mask: which keys of the cache a hypothesis sees, ``[G, R, W, T * W]``; those
            of later positions are hidden anyway.

    Returns:
        ``[G, R, W, V]`` in float32, and the updated caches.
    """
    outer, block = T5(config), DecoderBlock(config)
    x = outer.apply({"params": weights.outer}, tokens, method="embed")
    bias = _bias(steps, position, tokens.shape[2])
    emit = Emission.precomputed(None).emit
    shared = SharedInputs(emit, bias=bias, mask=mask, position=position)
    updated = []
    for params, layer, cache in zip(weights.layers, steps.layers, caches, strict=True):
        layer = layer.replace(cache=cache)
        x, cache = block.apply({"params": params}, x, layer, shared)
        updated.append(cache)
    x = outer.apply({"params": weights.outer}, x, method="normal")
    return _logits(config, weights.head, x), tuple(updated)


def _logits(config: T5Config, head: jax.Array, x: jax.Array) -> jax.Array:
    """Logits of normalised hidden states, as `T5` has them."""
    x = x.astype(jnp.float32)
    if config.tie_embeddings:
        x = x * config.embed_dim**-0.5
    logits = jnp.moveaxis(jnp.einsum("VD,GRTD->VGRT", head, x), 0, -1)
    names = (axes.GROUPS, axes.ROWS, axes.LENGTH, axes.VOCAB)
    return sharding.constrain(logits, names)


def _bias(steps: Steps, position: jax.Array, hypotheses: int) -> jax.Array:
    """Bias ``[1, 1, H, 1, T * W]`` of the query at `position`."""
    start = steps.length - 1 - position
    bias = jax.lax.dynamic_slice_in_dim(steps.bias, start, steps.length, axis=-1)
    return jnp.repeat(bias, hypotheses, axis=-1)


def _memories(source: Memory, layers: int) -> list[Segment]:
    """The memory of each layer; they share the mask."""
    pairs = _unstacked((source.key, source.value), layers)
    return [Segment(*pair, source.mask).with_length_last() for pair in pairs]


def _unstacked(tree: Any, layers: int) -> tuple[Any, ...]:
    """Trees of each layer of one with axis L in front."""
    leaves, structure = jax.tree.flatten(tree)
    return tuple(
        jax.tree.unflatten(structure, [leaf[layer] for leaf in leaves])
        for layer in range(layers)
    )
