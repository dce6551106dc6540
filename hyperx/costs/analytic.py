"""Formulas for the work of a T5, of what is applied to it, and of HINT's generator.

Letters are those of `hyperx.axes`; J is H * K, n the number of input kernels of the
feed-forward layer. A product of ``[M, K]`` by ``[K, N]`` is ``2 M N K`` operations;
normalisations, activations and softmax, which a transformer has about a hundredth of,
are left out.
"""

import dataclasses
import math
from typing import Any

import jax

from hyperx.adaptation import Adapter, LayerAdaptation, LowRank, Prefix, is_part
from hyperx.config import T5Config
from hyperx.hypernetworks.generators.queries import QueryGeneratorConfig


@dataclasses.dataclass(frozen=True)
class Work:
    """Floating-point operations.

    Attributes:
        weights: of products with trained or generated weights; or all of them, where
            they were counted.
        attention: of scores, and of what they weigh.
    """

    weights: float = 0
    attention: float = 0

    @property
    def flops(self) -> float:
        """All of them."""
        return self.weights + self.attention

    def __add__(self, other: "Work") -> "Work":
        return Work(self.weights + other.weights, self.attention + other.attention)

    def __rmul__(self, times: float) -> "Work":
        return Work(times * self.weights, times * self.attention)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Numbers in the kernels of a T5.

    Attributes:
        attention: of one attention: query, key, value, out.
        mlp: of one feed-forward layer.
        table: of the token embeddings, and of the output head.
    """

    attention: int
    mlp: int
    table: int

    @classmethod
    def of(cls, config: T5Config) -> "Weights":
        """Of a T5."""
        return cls(
            attention=4 * config.embed_dim * config.joined_heads,
            mlp=(len(config.mlp_inputs) + 1) * config.embed_dim * config.mlp_dim,
            table=config.vocab_size * config.embed_dim,
        )

    def encoder(self, config: T5Config) -> int:
        """Of all encoder layers."""
        return config.num_encoder_layers * (self.attention + self.mlp)

    def decoder(self, config: T5Config) -> int:
        """Of all decoder layers."""
        return config.num_decoder_layers * (2 * self.attention + self.mlp)

    def cross_projections(self, config: T5Config) -> int:
        """Those of `decoder` that make keys and values of what is attended to."""
        return config.num_decoder_layers * self.attention // 2

    def total(self, config: T5Config) -> int:
        """Of the T5; scales and relative position biases are some thousands more."""
        tables = self.table if config.tie_embeddings else 2 * self.table
        return self.encoder(config) + self.decoder(config) + tables


def encoder(config: T5Config, tokens: int) -> Work:
    """Encoding `tokens` (S): ``L (2 S (4 D J + (n + 1) D F) + 4 S^2 J)``."""
    pairs = config.num_encoder_layers * tokens**2
    weights = 2 * tokens * Weights.of(config).encoder(config)
    return Work(weights, 4 * pairs * config.joined_heads)


def project(config: T5Config, tokens: int) -> Work:
    """Cross-attention keys and values of `tokens`: ``L 2 S 2 D J``."""
    return Work(2 * tokens * Weights.of(config).cross_projections(config))


def decoder(config: T5Config, tokens: int, sources: int) -> Work:
    """Decoding `tokens` (T) that attend to `sources` projected ones.

    ``L (2 T (6 D J + (n + 1) D F) + 4 T (T + sources) J) + 2 T D V``: one pass over all
    of them, or T cached steps, each of which scores the whole cache.
    """
    own = Weights.of(config)
    read = own.decoder(config) - own.cross_projections(config) + own.table
    pairs = config.num_decoder_layers * tokens * (tokens + sources)
    return Work(2 * tokens * read, 4 * pairs * config.joined_heads)


def applied(parts: LayerAdaptation, tokens: int, sources: int = 0) -> Work:
    """Applying generated weights in one stack.

    Args:
        parts: shapes of one stack's weights, leaves ``[L, G, ...]``.
        tokens: that the stack reads.
        sources: that are projected for its cross-attention.
    """
    found = jax.tree_util.tree_leaves_with_path(parts, is_leaf=is_part)
    return sum((_applied(path, p, tokens, sources) for path, p in found), Work())


def _applied(path: tuple[Any, ...], part: Any, tokens: int, sources: int) -> Work:
    match part:
        case Adapter():  # 4 M D for every token
            layers, _, size, width = part.down.shape
            return Work(4 * layers * tokens * size * width)
        case LowRank():  # 2 N (in + out)
            layers, _, rank, read = part.a.shape
            site, name = path[0].name, path[-1].key
            of_sources = site == "cross_attention" and name in ("key", "value")
            count = sources if of_sources else tokens
            return Work(2 * layers * count * rank * (read + part.b.shape[-1]))
        case Prefix():  # 4 P J
            layers, _, *size = part.key.shape
            return Work(attention=4 * layers * tokens * math.prod(size))
    return Work()  # factors: no product of matrices


def query_generator(config: QueryGeneratorConfig, condition: int) -> Work:
    """HINT's generator for a condition of that many tokens (I).

    Each of C queries of a layer is projected, attends to the condition, is projected
    back, and goes through a head of its kind: ``2 C (2 D J) + 4 C I J`` and ``2 D W + 2
    W width`` for each; the condition's keys and values are made once.
    """
    backbone = config.backbone
    embed, joined = backbone.embed_dim, backbone.joined_heads
    hidden = config.head_width or embed
    total = Work(2 * condition * 2 * embed * joined)
    for layers, attentions in (
        (backbone.num_encoder_layers, 1),
        (backbone.num_decoder_layers, 2),
    ):
        counts = config.counts(attentions=attentions)
        queries = sum(counts.values())
        heads = sum(
            count * hidden * (embed + config.widths()[kind])
            for kind, count in counts.items()
        )
        total += layers * Work(
            2 * queries * 2 * embed * joined + 2 * heads,
            4 * queries * condition * joined,
        )
    return total
