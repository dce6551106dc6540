"""The T5 encoder-decoder: two scanned, rematerialised stacks over grouped batches."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes, sharding
from hyperx.adaptation import Encoded, Memory
from hyperx.backbone.blocks import (
    DecoderBlock,
    EncoderBlock,
    LayerInputs,
    SharedInputs,
)
from hyperx.backbone.layers import (
    Dropout,
    Embedding,
    Projection,
    RelativeBias,
    RMSNorm,
)
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.ops import relative_positions
from hyperx.ops.attention import MASKED, Segment

PAD = 0
EOS = 1

_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "none": jax.checkpoint_policies.dots_saveable,
}


def scanned(
    block: type[nn.Module], config: T5Config, layers: int, *others: str
) -> nn.Module:
    """`block` repeated over `layers`, its calls rematerialised for the backward pass.

    Args:
        block: module with methods ``(carry, scanned, broadcast) -> (carry, outputs)``.
        config: of the backbone.
        layers: number of repetitions.
        *others: methods that are scanned besides ``__call__``.
    """
    remat = nn.remat(
        block,
        prevent_cse=False,
        policy=_POLICIES[config.remat],
        methods=["__call__"],
    )
    return nn.scan(
        remat,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        length=layers,
        in_axes=(0, nn.broadcast),
        methods=["__call__", *others],
        metadata_params={nn.PARTITION_NAME: axes.LAYERS},
    )(config)


class Encoder(nn.Module):
    """Stack of encoder layers."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        self.relpos_bias = RelativeBias(config)
        self.layers = scanned(EncoderBlock, config, config.num_encoder_layers)
        self.encoder_norm = RMSNorm(config.norm_epsilon, config.dtype)
        self.dropout = Dropout(config.dropout_rate, broadcast=(-2,))

    def __call__(self, x: jax.Array, mask: jax.Array, emission: Emission) -> jax.Array:
        """Encodes ``[G, R, S, D]`` embeddings.

        Args:
            x: embeddings.
            mask: visible positions ``[G, R, S]``, or ``[G, R, T, S]`` by position that
                looks.
            emission: generated weights.
        """
        positions = jnp.arange(x.shape[2])
        bias = relative_positions.bias(
            self.relpos_bias(),
            positions,
            positions,
            bidirectional=True,
            max_distance=self.config.relative_max_distance,
        )
        shared = SharedInputs(emit=emission.emit, bias=bias, mask=mask)
        x, _ = self.layers(self.dropout(x), LayerInputs(emission.layers), shared)
        return self.dropout(self.encoder_norm(x))


class Decoder(nn.Module):
    """Stack of decoder layers."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        self.relpos_bias = RelativeBias(config)
        self.layers = scanned(
            DecoderBlock, config, config.num_decoder_layers, "project"
        )
        self.decoder_norm = RMSNorm(config.norm_epsilon, config.dtype)
        self.dropout = Dropout(config.dropout_rate, broadcast=(-2,))
        if not config.tie_embeddings:
            # NOTE: float32 whatever the compute dtype, as in T5 v1.1.
            self.logits_dense = Projection(
                config.vocab_size, (axes.EMBED, axes.VOCAB), dtype="float32"
            )

    def __call__(
        self,
        x: jax.Array,
        emission: Emission,
        sources: Sequence[Encoded | Memory],
        *,
        causal: bool = True,
    ) -> jax.Array:
        """Decodes embeddings ``[G, R, T, D]`` of all target positions.

        Args:
            x: embeddings.
            emission: generated weights.
            sources: what cross-attention reads.
            causal: whether later positions are hidden.

        Returns:
            Normalised hidden states ``[G, R, T, D]``.
        """
        layer = LayerInputs(
            emission=emission.layers,
            memories=tuple(_per_layer(s) for s in sources if isinstance(s, Memory)),
        )
        positions = jnp.arange(x.shape[2])
        shared = SharedInputs(
            emit=emission.emit,
            bias=self.bias(positions, positions, causal=causal),
            sources=tuple(s for s in sources if isinstance(s, Encoded)),
        )
        x, _ = self.layers(self.dropout(x), layer, shared)
        return self.normal(x)

    def normal(self, x: jax.Array) -> jax.Array:
        """Normalised hidden states of those behind the last layer."""
        return self.dropout(self.decoder_norm(x))

    def project(self, source: Encoded, emission: Emission) -> Memory:
        """Keys and values of a source for every layer, leaves ``[L, ...]``."""
        shared = SharedInputs(emit=emission.emit, sources=(source,))
        _, memory = self.layers.project(None, LayerInputs(emission.layers), shared)
        return memory.replace(mask=source.mask)

    def bias(
        self, queries: jax.Array, keys: jax.Array, *, causal: bool = True
    ) -> jax.Array:
        """Relative bias ``[1, 1, H, T, S]``; a causal one hides later positions.

        Args:
            queries: positions ``[T]`` that look.
            keys: positions ``[S]`` that are looked at.
            causal: whether keys behind a query are hidden.
        """
        bias = relative_positions.bias(
            self.relpos_bias(),
            queries,
            keys,
            bidirectional=False,
            max_distance=self.config.relative_max_distance,
        )
        if not causal:
            return bias
        later = keys[None, :] > queries[:, None]
        return jnp.where(later[None, None, None], MASKED, bias)


def _per_layer(memory: Memory) -> Segment:
    """A memory as attention reads it, every leaf with axis L to be scanned over."""
    mask = jnp.broadcast_to(memory.mask, (memory.key.shape[0], *memory.mask.shape))
    return Segment(memory.key, memory.value, mask)


class T5(nn.Module):
    """Encoder-decoder over batches of G groups of R rows.

    Any leading axis of generated weights or memories is G, or 1 for all groups.
    """

    config: T5Config

    def setup(self) -> None:
        self.token_embedder = Embedding(self.config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def encode(
        self,
        tokens: jax.Array,
        emission: Emission,
        prompt: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        blocks: jax.Array | None = None,
    ) -> Encoded:
        """Encodes tokens ``[G, R, S]``; padding is invisible unless `mask` says else.

        Args:
            tokens: ``[G, R, S]`` integers.
            emission: generated weights of the encoder.
            prompt: embeddings ``[G, P, D]`` in front of every row of a group, or of all
                groups; they are encoded and attended to as if they were tokens.
            mask: visible positions, ``[G, R, S]``; those that are not padding if None.
            blocks: numbers ``[G, R, S]``; a position sees those of its own number.
        """
        x, mask = self.embed(tokens), tokens != PAD if mask is None else mask
        if prompt is not None:
            shape = (*tokens.shape[:2], *prompt.shape[1:])
            prompt = jnp.broadcast_to(prompt[:, None].astype(x.dtype), shape)
            x = jnp.concatenate([prompt, x], axis=2)
            mask = jnp.pad(mask, ((0, 0), (0, 0), (shape[2], 0)), constant_values=True)
        visible = mask
        if blocks is not None:
            visible = mask[:, :, None] & (blocks[..., None] == blocks[:, :, None])
        return Encoded(self.encoder(x, visible, emission), mask)

    def decode(
        self,
        tokens: jax.Array,
        emission: Emission,
        sources: Sequence[Encoded | Memory],
    ) -> jax.Array:
        """Teacher-forced logits ``[G, R, T, V]`` in float32.

        Args:
            tokens: ``[G, R, T]`` integers.
            emission: generated weights of the decoder.
            sources: what cross-attention reads.
        """
        x = self.decoder(self.embed(tokens), emission, sources).astype(jnp.float32)
        if self.config.tie_embeddings:
            logits = self.token_embedder.attend(x)
        else:
            logits = self.decoder.logits_dense(x)
        names = (axes.GROUPS, axes.ROWS, axes.LENGTH, axes.VOCAB)
        return sharding.constrain(logits, names)

    def normal(self, x: jax.Array) -> jax.Array:
        """Normalised hidden states of those behind the decoder's last layer."""
        return self.decoder.normal(x)

    def bias(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """Causal bias of the decoder's self-attention; see `Decoder.bias`."""
        return self.decoder.bias(queries, keys)

    def project(self, source: Encoded, emission: Emission) -> Memory:
        """Projects a source for every decoder layer, to be kept through decoding."""
        return self.decoder.project(source, emission)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Embeds tokens ``[G, R, T]`` as ``[G, R, T, D]``."""
        names = (axes.GROUPS, axes.ROWS, axes.LENGTH, axes.EMBED)
        return sharding.constrain(self.token_embedder(tokens), names)
