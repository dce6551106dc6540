"""Sizes of the T5 backbone: one frozen dataclass and the published presets."""

import dataclasses
from typing import Any, Literal

# embed, heads, head width, layers per stack, MLP width. Raffel et al. 2020 for v1.0 (xl
# is published as 3B, xxl as 11B), the released configurations for v1.1; ``tiny`` is
# ours, for tests and demonstrations.
_V1_1 = {
    "tiny": (64, 4, 16, 2, 128),
    "small": (512, 6, 64, 8, 1024),
    "base": (768, 12, 64, 12, 2048),
    "large": (1024, 16, 64, 24, 2816),
    "xl": (2048, 32, 64, 24, 5120),
    "xxl": (4096, 64, 64, 24, 10240),
}
_V1_0 = {
    "tiny": (64, 4, 16, 2, 128),
    "small": (512, 8, 64, 6, 2048),
    "base": (768, 12, 64, 12, 3072),
    "large": (1024, 16, 64, 24, 4096),
    "xl": (1024, 32, 128, 24, 16384),
    "xxl": (1024, 128, 128, 24, 65536),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
    """Architecture of a T5 encoder-decoder.

    Attributes:
        vocab_size: rows of the embedding table (V).
        embed_dim: model width (D).
        num_heads: attention heads (H).
        head_dim: width of one head (K); ``H * K`` need not equal D.
        mlp_dim: width of the feed-forward layer (F).
        num_encoder_layers: encoder layers.
        num_decoder_layers: decoder layers.
        mlp_activations: one activation per input kernel of the feed-forward layer;
            two make it gated. ``gelu`` is the tanh approximation, as in T5 v1.1.
        tie_embeddings: T5 v1.0: the output head is the embedding table, and decoder
            outputs are scaled by ``D ** -0.5`` before it.
        relative_buckets: buckets of the relative position bias.
        relative_max_distance: distance from which all positions share a bucket.
        norm_epsilon: epsilon of RMS normalisation.
        dropout_rate: dropout, active only where a dropout key is given.
        dtype: dtype of activations; parameters are always float32.
        remat: what a layer keeps for its backward pass: ``full`` nothing but its
            input, ``dots`` the results of weight multiplications, ``none`` those of all
            multiplications; the rest is computed again.
    """

    vocab_size: int
    embed_dim: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    num_encoder_layers: int
    num_decoder_layers: int
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    tie_embeddings: bool = False
    relative_buckets: int = 32
    relative_max_distance: int = 128
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Literal["full", "dots", "none"] = "full"

    def __post_init__(self) -> None:
        # JSON has no tuples; equality and hashing need one.
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"expected {field.name} to be a positive integer, got {value!r}"
                )
        for name, allowed in (
            ("dtype", ("float32", "bfloat16")),
            ("remat", ("full", "dots", "none")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"expected {name} to be one of {allowed}, "
                    f"got {getattr(self, name)!r}"
                )

    @property
    def mlp_inputs(self) -> tuple[str, ...]:
        """Names of the feed-forward layer's input kernels, as T5 checkpoints have."""
        count = len(self.mlp_activations)
        return ("wi",) if count == 1 else tuple(f"wi_{i}" for i in range(count))

    @property
    def joined_heads(self) -> int:
        """Width of all heads together (H * K)."""
        return self.num_heads * self.head_dim


def _preset(table: dict, size: str, overrides: dict[str, Any]) -> T5Config:
    if size not in table:
        raise ValueError(f"expected a T5 size among {list(table)}, got {size!r}")
    embed, heads, head, layers, mlp = table[size]
    sizes = dict(
        vocab_size=32128,
        embed_dim=embed,
        num_heads=heads,
        head_dim=head,
        mlp_dim=mlp,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
    )
    return T5Config(**(sizes | overrides))


def t5_1_1(size: str, **overrides: Any) -> T5Config:
    """T5 v1.1 of a published size: gated GELU, untied output head.

    Args:
        size: tiny, small, base, large, xl or xxl.
        **overrides: fields of `T5Config` that differ from the preset.
    """
    return _preset(_V1_1, size, overrides)


def t5_1_0(size: str, **overrides: Any) -> T5Config:
    """T5 v1.0 of a published size: ReLU, tied and scaled output head.

    Args:
        size: tiny, small, base, large, xl or xxl.
        **overrides: fields of `T5Config` that differ from the preset.
    """
    kind = dict(mlp_activations=("relu",), tie_embeddings=True)
    return _preset(_V1_0, size, kind | overrides)
