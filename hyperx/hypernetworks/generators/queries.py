"""HINT's generator: learned queries read the condition, shared heads write weights.

One learned query per generated vector attends once to the encoded condition; one small
two-layer head per *kind* of vector, shared by all layers, turns what the query found
into that vector (Ivison et al. 2023).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes, sharding
from hyperx.adaptation import (
    PROJECTIONS,
    Adapter,
    Encoded,
    LayerAdaptation,
    LowRank,
    Prefix,
    SiteParts,
)
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.ops import attention


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryGeneratorConfig:
    """What the generator writes, and how.

    Attributes:
        backbone: the T5 whose weights are generated.
        bottleneck: of the feed-forward adapters (M); 0 for none.
        prefix_length: of the attention prefixes (P); 0 for none.
        rank: of low-rank updates of attention projections (N); 0 for none.
        projections: which projections of every attention receive them.
        head_width: hidden width of the heads; D if None.
        query_stddev: of the initial query bank; ``D ** -0.5`` if None.
        residual: add each query to what it found, and normalise.
        dropout_rate: on the heads' hidden layer.
        reshaped_down: read the down-projections from the queries' vectors in the order
            of memory, as the reference implementation does.
        unused_cross_adapters: also generate, and drop, an adapter per cross-attention.
    """

    backbone: T5Config
    bottleneck: int
    prefix_length: int
    rank: int = 0
    projections: tuple[str, ...] = ("query", "value")
    head_width: int | None = None
    query_stddev: float | None = 1.0
    residual: bool = True
    dropout_rate: float = 0.0
    reshaped_down: bool = False
    unused_cross_adapters: bool = False

    def widths(self) -> dict[str, int]:
        """Width of each kind of generated vector."""
        embed, joined = self.backbone.embed_dim, self.backbone.joined_heads
        adapter = {
            "adapter_down": embed,
            "adapter_up": embed,
            "adapter_down_bias": self.bottleneck,
            "adapter_up_bias": embed,
        }
        prefix = {"prefix_key": joined, "prefix_value": joined}
        size = {axes.EMBED: embed, axes.JOINED_HEADS: joined}
        low_rank = {
            f"low_rank_{name}_{side}": size[axis]
            for name in self.projections
            for side, axis in zip("ab", PROJECTIONS[name], strict=True)
        }
        return (
            (adapter if self.bottleneck else {})
            | (prefix if self.prefix_length else {})
            | (low_rank if self.rank else {})
        )

    def second_factors(self) -> set[str]:
        """The kinds that are applied last in a low-rank update."""
        return {f"low_rank_{name}_b" for name in self.projections}

    def counts(self, *, attentions: int) -> dict[str, int]:
        """Queries of each kind for one layer with that many attention sub-layers."""
        adapters = attentions if self.unused_cross_adapters else 1
        per_kind = {
            "adapter_down": self.bottleneck * adapters,
            "adapter_up": self.bottleneck * adapters,
            "adapter_down_bias": adapters,
            "adapter_up_bias": adapters,
            "prefix_key": self.prefix_length * attentions,
            "prefix_value": self.prefix_length * attentions,
        }
        low_rank = self.rank * attentions
        return {kind: per_kind.get(kind, low_rank) for kind in self.widths()}


class QueryGenerator(nn.Module):
    """Declares queries, one cross-attention and heads; emits what they write."""

    config: QueryGeneratorConfig

    def setup(self) -> None:
        config, backbone = self.config, self.config.backbone
        embed, joined = backbone.embed_dim, backbone.joined_heads
        self.encoder_queries = self._bank("encoder", backbone.num_encoder_layers, 1)
        self.decoder_queries = self._bank("decoder", backbone.num_decoder_layers, 2)
        into = (axes.EMBED, axes.JOINED_HEADS)
        self.attention = {
            name: self.param(
                f"attention_{name}",
                boxed(nn.initializers.normal(stddev), *names),
                shape,
            )
            for name, names, shape, stddev in (
                ("query", into, (embed, joined), (embed * backbone.head_dim) ** -0.5),
                ("key", into, (embed, joined), embed**-0.5),
                ("value", into, (embed, joined), embed**-0.5),
                ("out", into[::-1], (joined, embed), joined**-0.5),
            )
        }
        width = config.head_width or embed
        self.heads = {
            kind: self._head(kind, width, out) for kind, out in config.widths().items()
        }

    def __call__(self, code: Encoded) -> Conditioning:
        """Emissions of encoder and decoder for a code ``[G, I, D]``."""
        shared = {
            "query": self.attention["query"],
            "out": self.attention["out"],
            # The condition's keys and values are the same for every layer's queries,
            # whose gradients add up in float32.
            "key": self._seen("key", code),
            "value": self._seen("value", code),
            "mask": code.mask,
            "heads": self.heads,
        }
        encoder, decoder = (
            Emission.of(_Emit(self.config, attentions), shared=shared, layers=layers)
            for attentions, layers in (
                (1, self._with_keys(self.encoder_queries)),
                (2, self._with_keys(self.decoder_queries)),
            )
        )
        return Conditioning(encoder, decoder)

    def _seen(self, side: str, code: Encoded) -> jax.Array:
        """The condition's keys or values ``[G, I, H, K]``."""
        backbone = self.config.backbone
        projected = _project(code.hidden, self.attention[side]).astype(jnp.float32)
        return projected.reshape(
            *code.mask.shape, backbone.num_heads, backbone.head_dim
        )

    def _bank(self, stack: str, layers: int, attentions: int) -> dict[str, jax.Array]:
        """Learned queries ``[L, C, D]`` of each kind."""
        embed = self.config.backbone.embed_dim
        stddev = self.config.query_stddev or embed**-0.5
        init = boxed(
            nn.initializers.normal(stddev), axes.LAYERS, axes.QUERIES, axes.EMBED
        )
        counts = self.config.counts(attentions=attentions)
        return {
            kind: self.param(f"{stack}_queries_{kind}", init, (layers, count, embed))
            for kind, count in counts.items()
        }

    def _head(self, kind: str, hidden: int, out: int) -> dict[str, jax.Array]:
        """Kernels of one kind's head, initialised by fan-in.

        Those that write the second factor of low-rank updates end in zeros: the updates
        start at nothing, as in LoRA.
        """
        embed = self.config.backbone.embed_dim
        stddev = 0.0 if kind in self.config.second_factors() else hidden**-0.5
        wi = boxed(nn.initializers.normal(embed**-0.5), axes.EMBED, axes.HEAD_MLP)
        wo = boxed(nn.initializers.normal(stddev), axes.HEAD_MLP, axes.EMBED_OUT)
        return {
            "wi": self.param(f"head_{kind}_wi", wi, (embed, hidden)),
            "wo": self.param(f"head_{kind}_wo", wo, (hidden, out)),
        }

    def _with_keys(self, bank: dict[str, jax.Array]) -> dict[str, Any]:
        """Adds one dropout key per layer where dropout is on."""
        layers: dict[str, Any] = {"queries": bank}
        if bank and self.config.dropout_rate and self.has_rng("dropout"):
            length = next(iter(bank.values())).shape[0]
            layers["dropout"] = jax.random.split(self.make_rng("dropout"), length)
        return layers


@dataclasses.dataclass(frozen=True)
class _Emit:
    """Generates one layer's parts; static configuration only, so that jit can cache."""

    config: QueryGeneratorConfig
    attentions: int

    def __call__(
        self, shared: dict[str, Any], layer: dict[str, Any]
    ) -> LayerAdaptation:
        queries = layer["queries"]
        if not queries:
            return LayerAdaptation()
        found = self._read(shared, jnp.concatenate(list(queries.values())))
        # Whole over C, which is cut into kinds: else the cuts move it between devices.
        found = sharding.constrain(found, (axes.GROUPS, axes.QUERIES, axes.EMBED))
        vectors, start = {}, 0
        for number, (kind, bank) in enumerate(queries.items()):
            units = found[:, start : start + bank.shape[0]]
            key = layer.get("dropout")
            key = None if key is None else jax.random.fold_in(key, number)
            vectors[kind] = self._write(shared["heads"][kind], units, key)
            start += bank.shape[0]
        return adaptation.constrain(self._parts(vectors))

    def _read(self, shared: dict[str, Any], queries: jax.Array) -> jax.Array:
        """What queries ``[C, D]`` find in the condition: ``[G, C, D]``."""
        backbone = self.config.backbone
        queries = queries.astype(backbone.dtype)[None]
        query = _project(queries, shared["query"])
        query = query.reshape(1, 1, -1, backbone.num_heads, backbone.head_dim)
        key, value = (shared[name].astype(query.dtype) for name in ("key", "value"))
        condition = attention.Segment(key, value, shared["mask"])
        found = attention.attend(query, (condition,))[:, 0]
        found = _project(found.reshape(*found.shape[:2], -1), shared["out"])
        if not self.config.residual:
            return found
        found = found + queries
        square = jnp.mean(jnp.square(found.astype(jnp.float32)), axis=-1, keepdims=True)
        return found * jax.lax.rsqrt(square + backbone.norm_epsilon).astype(found.dtype)

    def _write(
        self, head: dict[str, jax.Array], units: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """One kind's vectors ``[G, C, width]`` from ``[G, C, D]``."""
        hidden = _project(units, head["wi"])
        hidden = nn.gelu(hidden)
        if key is not None:
            # One mask for all vectors of a kind, as in the reference implementation.
            keep = 1.0 - self.config.dropout_rate
            shape = (hidden.shape[0], 1, hidden.shape[2])
            mask = jax.random.bernoulli(key, keep, shape)
            hidden = jnp.where(mask, hidden / keep, 0.0)
        vectors = _project(hidden, head["wo"]) * self.config.backbone.embed_dim**-0.5
        return sharding.constrain(vectors, (axes.GROUPS, axes.QUERIES, None))

    def _parts(self, vectors: dict[str, jax.Array]) -> LayerAdaptation:
        sites = [self._site(vectors, site) for site in range(self.attentions)]
        adapter = self._adapter(vectors) if self.config.bottleneck else None
        return LayerAdaptation(
            self_attention=sites[0],
            cross_attention=sites[1] if sites[1:] else SiteParts(),
            mlp=SiteParts(adapter=adapter),
        )

    def _site(self, vectors: dict[str, jax.Array], site: int) -> SiteParts:
        """What is written for one attention sub-layer."""
        low_rank = self._low_rank(vectors, site)
        return SiteParts(prefix=self._prefix(vectors, site), low_rank=low_rank)

    def _prefix(self, vectors: dict[str, jax.Array], site: int) -> Prefix | None:
        """The prefix of one attention sub-layer."""
        backbone, length = self.config.backbone, self.config.prefix_length
        if not length:
            return None
        heads = (backbone.num_heads, backbone.head_dim)
        own = (_share(vectors[f"prefix_{x}"], site, length) for x in ("key", "value"))
        return Prefix(*(x.reshape(*x.shape[:2], *heads) for x in own))

    def _low_rank(self, vectors: dict[str, jax.Array], site: int) -> dict[str, LowRank]:
        """The updates of one attention sub-layer."""
        rank = self.config.rank
        return {
            name: LowRank(
                _share(vectors[f"low_rank_{name}_a"], site, rank),
                _share(vectors[f"low_rank_{name}_b"], site, rank),
            )
            for name in self.config.projections
            if rank
        }

    def _adapter(self, vectors: dict[str, jax.Array]) -> Adapter:
        size = self.config.bottleneck
        down = vectors["adapter_down"][:, :size]
        if self.config.reshaped_down:
            down = down.reshape(down.shape[0], -1, size).swapaxes(1, 2)
        return Adapter(
            down=down,
            up=vectors["adapter_up"][:, :size],
            down_bias=vectors["adapter_down_bias"][:, 0],
            up_bias=vectors["adapter_up_bias"][:, 0],
        )


def _share(vectors: jax.Array, site: int, count: int) -> jax.Array:
    """The vectors ``[G, count, width]`` of one attention sub-layer."""
    return vectors[:, site * count : (site + 1) * count]


def _project(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("...i,io->...o", x, kernel.astype(x.dtype))
