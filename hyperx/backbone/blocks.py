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


@struct.dataclass
class Cache:
    """Keys and values of the target positions decoded so far.

    Attributes:
        key: ``[G, R, T, H, K]``, with L in front for a whole stack.
        value: as `key`.
    """

    key: jax.Array
    value: jax.Array

    def update(self, key: jax.Array, value: jax.Array, position: jax.Array) -> "Cache":
        """Writes keys and values ``[G, R, 1, H, K]`` at `position`."""
        write = jax.lax.dynamic_update_slice_in_dim
        return Cache(
            write(self.key, key, position, axis=2),
            write(self.value, value, position, axis=2),
        )


@struct.dataclass
class LayerInputs:
    """What differs from layer to layer; scanned over its leading axis L.

    Attributes:
        emission: slice of `hyperx.emission.Emission.layers`.
        memories: projected sources of cross-attention.
        cache: of self-attention, or None when all target positions come at once.
    """

    emission: Any = None
    memories: tuple[Memory, ...] = ()
    cache: Cache | None = None


@struct.dataclass
class SharedInputs:
    """What every layer of a stack reads.

    Attributes:
        emit: of `hyperx.emission.Emission`.
        bias: of self-attention, ``[1, 1, H, T, S]``.
        mask: visible positions of encoder self-attention, ``[G, R, S]`` or
            ``[G, R, T, S]``, or None.
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
        """Maps hidden states ``[G, R, T, D]``; the updated cache comes with them."""
        parts = shared.emit(layer.emission)
        own = parts.self_attention
        normal = self.pre_self_attention_layer_norm(x)
        key, value = self.self_attention.keys_values(normal, own)
        cache = layer.cache
        if cache is not None:
            cache = cache.update(key, value, shared.position)
            key, value = cache.key, cache.value
        segments = (Segment(key, value, None, shared.bias),)
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
        projected = [Segment(m.key, m.value, m.mask) for m in layer.memories]
        return projected + [
            Segment(*attention.keys_values(source.hidden, parts), source.mask)
            for source in shared.sources
        ]
