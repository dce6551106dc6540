"""Layers of T5: thin modules that declare parameters and call `hyperx.ops`.

Parameter names and shapes equal those of t5x checkpoints once layers are unstacked.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes, sharding
from hyperx.adaptation import LowRank, SiteParts
from hyperx.config import T5Config
from hyperx.ops import activations, attention, projections


def boxed(init: nn.initializers.Initializer, *names: str | None):
    """`init` with logical axis names attached to the parameter it makes."""
    return nn.with_logical_partitioning(init, names)


class Projection(nn.Module):
    """A linear map without bias on the last axis.

    Attributes:
        features: output width.
        names: logical names of input and output axis.
        stddev: of the initial kernel; ``fan_in ** -0.5`` if None.
        dtype: of the computation.
    """

    features: int
    names: tuple[str, str]
    stddev: float | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, low_rank: LowRank | None = None) -> jax.Array:
        stddev = x.shape[-1] ** -0.5 if self.stddev is None else self.stddev
        kernel = self.param(
            "kernel",
            boxed(nn.initializers.normal(stddev), *self.names),
            (x.shape[-1], self.features),
        )
        out = projections.product(x, kernel.astype(self.dtype))
        return projections.updated(out, low_rank, x)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale, statistics in float32."""

    epsilon: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param(
            "scale", boxed(nn.initializers.ones_init(), axes.EMBED), (x.shape[-1],)
        )
        wide = x.astype(jnp.float32)
        square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normal = (wide * jax.lax.rsqrt(square + self.epsilon)).astype(self.dtype)
        return normal * jnp.broadcast_to(scale.astype(self.dtype), normal.shape)


class Dropout(nn.Module):
    """Dropout that acts if, and only if, a dropout key is given."""

    rate: float
    broadcast: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dropout(
            self.rate,
            broadcast_dims=self.broadcast,
            deterministic=not self.has_rng("dropout"),
        )(x)


class Embedding(nn.Module):
    """Token embeddings, and for T5 v1.0 the output head."""

    config: T5Config

    def setup(self) -> None:
        self.embedding = self.param(
            "embedding",
            boxed(nn.initializers.normal(1.0), axes.VOCAB, axes.EMBED),
            (self.config.vocab_size, self.config.embed_dim),
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Embeds ``[G, R, T]`` tokens as ``[G, R, T, D]``."""
        # A table whose D is split would be read for all rows on every device, since
        # rows lie over the same devices.
        table = sharding.constrain(self.embedding, (axes.VOCAB, None))
        return jnp.take(table, tokens, axis=0).astype(self.config.dtype)

    def attend(self, x: jax.Array) -> jax.Array:
        """Logits ``[G, R, T, V]`` of hidden states, scaled as in T5 v1.0."""
        x = x.astype(jnp.float32) * self.config.embed_dim**-0.5
        return projections.product(x, self.embedding.T)


class RelativeBias(nn.Module):
    """The table of one stack's relative position bias."""

    config: T5Config

    @nn.compact
    def __call__(self) -> jax.Array:
        """The table ``[H, buckets]``."""
        return self.param(
            "rel_embedding",
            boxed(nn.initializers.normal(1.0), axes.HEADS, axes.BUCKETS),
            (self.config.num_heads, self.config.relative_buckets),
        )


class Attention(nn.Module):
    """Multi-head attention over segments of keys and values."""

    config: T5Config

    def setup(self) -> None:
        config = self.config

        def into_heads(stddev: float) -> Projection:
            names = (axes.EMBED, axes.JOINED_HEADS)
            return Projection(config.joined_heads, names, stddev, config.dtype)

        # NOTE: the 1/sqrt(K) of attention scores lives in the query kernel.
        self.query = into_heads((config.embed_dim * config.head_dim) ** -0.5)
        self.key = into_heads(config.embed_dim**-0.5)
        self.value = into_heads(config.embed_dim**-0.5)
        self.out = Projection(
            config.embed_dim, (axes.JOINED_HEADS, axes.EMBED), dtype=config.dtype
        )
        self.dropout = Dropout(config.dropout_rate, broadcast=(-2,))

    def keys_values(
        self, x: jax.Array, parts: SiteParts
    ) -> tuple[jax.Array, jax.Array]:
        """Keys and values ``[..., S, H, K]`` of hidden states ``[..., S, D]``."""
        key = self.key(x, parts.low_rank.get("key"))
        value = self.value(x, parts.low_rank.get("value"))
        key = projections.scaled(key, parts.scale.get("key"))
        value = projections.scaled(value, parts.scale.get("value"))
        return self._heads(key), self._heads(value)

    def __call__(
        self, x: jax.Array, segments: Sequence[attention.Segment], parts: SiteParts
    ) -> jax.Array:
        """Attends from ``[G, R, T, D]`` to a generated prefix and all `segments`."""
        query = self._heads(self.query(x, parts.low_rank.get("query")))
        segments = (*attention.prefix(parts.prefix), *segments)
        attended = attention.attend(query, segments, self.dropout)
        attended = attended.reshape(*x.shape[:-1], self.config.joined_heads)
        return self.out(attended, parts.low_rank.get("out"))

    def _heads(self, x: jax.Array) -> jax.Array:
        shape = (*x.shape[:-1], self.config.num_heads, self.config.head_dim)
        leading = (axes.GROUPS, axes.ROWS) if len(shape) == 5 else (axes.GROUPS,)
        names = (*leading, axes.LENGTH, axes.HEADS, axes.HEAD_DIM)
        return sharding.constrain(x.reshape(shape), names)


class Mlp(nn.Module):
    """Feed-forward layer: the product of its activated input projections, projected."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, parts: SiteParts) -> jax.Array:
        """Maps ``[G, R, T, D]`` to ``[G, R, T, D]``."""
        config, hidden = self.config, 1.0
        for name, activation in zip(
            config.mlp_inputs, config.mlp_activations, strict=True
        ):
            wi = Projection(
                config.mlp_dim, (axes.EMBED, axes.MLP), dtype=config.dtype, name=name
            )
            projected = wi(x, parts.low_rank.get(name))
            hidden = hidden * activations.get(activation)(projected)
        hidden = projections.scaled(hidden, parts.scale.get("hidden"))
        names = (axes.GROUPS, axes.ROWS, axes.LENGTH, axes.MLP)
        hidden = sharding.constrain(hidden, names)
        hidden = Dropout(config.dropout_rate, broadcast=(-2,))(hidden)
        names = (axes.MLP, axes.EMBED)
        wo = Projection(config.embed_dim, names, dtype=config.dtype, name="wo")
        return wo(hidden, parts.low_rank.get("wo"))
