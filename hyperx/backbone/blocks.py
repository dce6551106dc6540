"""One layer of the encoder and one of the decoder, as scanned over a stack.

A block asks for its generated weights with ``shared.emit(layer.emission)`` and applies
what it gets.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.tree_util import Partial

from hyperx import axes, sharding
from hyperx.adaptation import Encoded, Memory, SiteParts
from hyperx.backbone.layers import Attention, Dropout, Mlp, RMSNorm
from hyperx.config import T5Config
from hyperx.ops import adapters
from hyperx.ops.attention import Segment

# Of cached keys and values, behind groups and rows.
_CACHED = (axes.HEADS, axes.HEAD_DIM, axes.LENGTH)


@struct.dataclass
class Cache:
    """One layer's keys and values of the target positions decoded so far.

    Of a position, those of all W hypotheses of a row lie side by side; positions come
    last, see `hyperx.ops.attention.Segment`.

    Attributes:
        key: ``[G, R, H, K, T * W]``, without G or R where it is 1: XLA would see
            through a reshape of what a step has written, and write it twice.
        value: as `key`.
    """

    key: jax.Array
    value: jax.Array

    @classmethod
    def empty(cls, config: T5Config, groups: int, rows: int, size: int) -> "Cache":
        """Room for ``size = T * W`` keys and values of every row."""
        shape, names = [config.num_heads, config.head_dim, size], list(_CACHED)
        for length, name in ((rows, axes.ROWS), (groups, axes.GROUPS)):
            if length > 1:
                shape, names = [length, *shape], [name, *names]
        empty = sharding.constrain(jnp.zeros(shape, config.dtype), tuple(names))
        return cls(empty, empty)

    def update(self, key: jax.Array, value: jax.Array, position: jax.Array) -> "Cache":
        """Writes the hypotheses' keys and values ``[G, R, W, H, K]`` at `position`."""

        def write(cache: jax.Array, new: jax.Array) -> jax.Array:
            start, last = position * new.shape[2], jnp.moveaxis(new, 2, -1)
            last = last.reshape(*cache.shape[:-1], -1)
            return jax.lax.dynamic_update_slice_in_dim(cache, last, start, axis=-1)

        return Cache(write(self.key, key), write(self.value, value))

    def segment(
        self, rows: tuple[int, int], mask: jax.Array | None, bias: jax.Array
    ) -> Segment:
        """What self-attention of ``rows = (G, R)`` reads."""
        key, value = (
            x.reshape(*rows, *x.shape[-len(_CACHED) :]) for x in (self.key, self.value)
        )
        return Segment(key, value, mask, bias, length_last=True)


@struct.dataclass
class LayerInputs:
    """What differs from layer to layer; scanned over its leading axis L.

    Attributes:
        emission: slice of `hyperx.emission.Emission.layers`.
        memories: projected sources of cross-attention.
        prefixes: of self-attention, besides those that are generated.
        cache: of self-attention, or None when all target positions come at once.
    """

    emission: Any = None
    memories: tuple[Segment, ...] = ()
    prefixes: tuple[Segment, ...] = ()
    cache: Cache | None = None


@struct.dataclass
class SharedInputs:
    """What every layer of a stack reads.

    Attributes:
        emit: of `hyperx.emission.Emission`.
        bias: of self-attention, ``[1, 1, H, T, S]``.
        mask: visible positions of self-attention, ``[G, R, S]`` or ``[G, R, T, S]``,
            or None for all.
        sources: of cross-attention, projected inside each layer.
        position: where to write the cache.
    """

    emit: Partial
    bias: jax.Array | None = None
    mask: jax.Array | None = None
    sources: tuple[Encoded, ...] = ()
    position: jax.Array | None = None


def _hidden(x: jax.Array) -> jax.Array:
    return sharding.constrain(x, (axes.GROUPS, axes.ROWS, axes.LENGTH, axes.EMBED))


class _Block(nn.Module):
    """What encoder and decoder layers share."""

    config: T5Config

    def _norm(self) -> RMSNorm:
        return RMSNorm(self.config.norm_epsilon, self.config.dtype)

    def _add_mlp(self, x: jax.Array, parts: SiteParts) -> jax.Array:
        """Adds the feed-forward layer to the residual stream."""
        normal = self.pre_mlp_layer_norm(x)
        return _hidden(self._add(x, normal, self.mlp(normal, parts), parts))

    def _add(
        self, x: jax.Array, normal: jax.Array, output: jax.Array, parts: SiteParts
    ) -> jax.Array:
        """Adds what a sub-layer makes of `normal`, and its adapter's output."""
        return adapters.joined(parts.adapter, x, normal, output, self.dropout)


class EncoderBlock(_Block):
    """Self-attention and feed-forward layer, both on normalised inputs."""

    def setup(self) -> None:
        self.pre_attention_layer_norm = self._norm()
        self.attention = Attention(self.config)
        self.pre_mlp_layer_norm = self._norm()
        self.mlp = Mlp(self.config)
        self.dropout = Dropout(self.config.dropout_rate, broadcast=(-2,))

    def __call__(
        self, x: jax.Array, layer: LayerInputs, shared: SharedInputs
    ) -> tuple[jax.Array, None]:
        """Maps hidden states ``[G, R, S, D]`` to ``[G, R, S, D]``."""
        parts = shared.emit(layer.emission)
        own = parts.self_attention
        normal = self.pre_attention_layer_norm(x)
        keys_values = self.attention.keys_values(normal, own)
        segments = (Segment(*keys_values, shared.mask, shared.bias),)
        x = self._add(x, normal, self.attention(normal, segments, own), own)
        return self._add_mlp(x, parts.mlp), None


class DecoderBlock(_Block):
    """Causal self-attention, cross-attention and feed-forward layer."""

    def setup(self) -> None:
        self.pre_self_attention_layer_norm = self._norm()
        self.self_attention = Attention(self.config)
        self.pre_cross_attention_layer_norm = self._norm()
        self.encoder_decoder_attention = Attention(self.config)
        self.pre_mlp_layer_norm = self._norm()
        self.mlp = Mlp(self.config)
        self.dropout = Dropout(self.config.dropout_rate, broadcast=(-2,))

    def __call__(
        self, x: jax.Array, layer: LayerInputs, shared: SharedInputs
    ) -> tuple[jax.Array, Cache | None]:
        """Maps hidden states ``[G, R, T, D]``; the updated cache comes with them.

        With a cache, the T positions are hypotheses of one and the same position.
        """
        parts = shared.emit(layer.emission)
        own = parts.self_attention
        normal = self.pre_self_attention_layer_norm(x)
        key, value = self.self_attention.keys_values(normal, own)
        segment, cache = Segment(key, value, shared.mask, shared.bias), layer.cache
        if cache is not None:
            cache = cache.update(key, value, shared.position)
            segment = cache.segment(x.shape[:2], shared.mask, shared.bias)
        segments = (*layer.prefixes, segment)
        x = self._add(x, normal, self.self_attention(normal, segments, own), own)

        other = parts.cross_attention
        normal = self.pre_cross_attention_layer_norm(x)
        segments = self._memories(layer, shared, other)
        output = self.encoder_decoder_attention(normal, segments, other)
        x = self._add(x, normal, output, other)
        return self._add_mlp(x, parts.mlp), cache

    def project(
        self, carry: None, layer: LayerInputs, shared: SharedInputs
    ) -> tuple[None, Memory]:
        """Cross-attention keys and values of the one source, for this layer."""
        del carry
        (source,) = shared.sources
        parts = shared.emit(layer.emission).cross_attention
        key, value = self.encoder_decoder_attention.keys_values(source.hidden, parts)
        return None, Memory(key, value, jnp.asarray(source.mask))

    def _memories(
        self, layer: LayerInputs, shared: SharedInputs, parts: SiteParts
    ) -> list[Segment]:
        attention = self.encoder_decoder_attention
        return [*layer.memories] + [
            Segment(*attention.keys_values(source.hidden, parts), source.mask)
            for source in shared.sources
        ]
