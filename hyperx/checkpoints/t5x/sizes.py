"""The architecture behind a t5x checkpoint, as far as shapes show it."""

from collections.abc import Mapping

import jax

from hyperx.checkpoints.t5x import names
from hyperx.config import T5Config

# What shapes do not show: v1.0 has one ReLU kernel, v1.1 a GELU gate.
_ACTIVATIONS = {("wi",): ("relu",), ("wi_0", "wi_1"): ("gelu", "linear")}


def infer(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> T5Config:
    """Sizes of a T5 v1.0 or v1.1 from the shapes of its parameters.

    Activations are those of the two versions, and the largest distance of relative
    positions is 128; heads are as many as have a relative position bias.

    Args:
        shapes: of a checkpoint, by t5x's names.

    Raises:
        ValueError: if they are no such T5's.
    """
    names.check_biases(shapes)
    scanned = names.is_scanned(shapes)
    block = "encoder/encoder" if scanned else names.layer("encoder", 0)
    vocab, embed = _shape(shapes, names.TABLE)
    heads, buckets = _shape(shapes, "encoder/relpos_bias/rel_embedding")
    joined = _shape(shapes, f"{block}/attention/query/kernel", 2 + scanned)[-1]
    inputs = tuple(
        n for n in ("wi", "wi_0", "wi_1") if f"{block}/mlp/{n}/kernel" in shapes
    )
    if joined % heads or inputs not in _ACTIVATIONS:
        raise ValueError(
            "expected a query kernel that divides by the heads of relpos_bias and "
            f"kernels mlp/wi, or wi_0 and wi_1, got "
            f"{joined}, {heads} heads and {inputs}"
        )
    return T5Config(
        vocab_size=vocab,
        embed_dim=embed,
        num_heads=heads,
        head_dim=joined // heads,
        mlp_dim=_shape(shapes, f"{block}/mlp/wo/kernel", 2 + scanned)[0],
        num_encoder_layers=names.layers(shapes, "encoder"),
        num_decoder_layers=names.layers(shapes, "decoder"),
        mlp_activations=_ACTIVATIONS[inputs],
        tie_embeddings=names.HEAD not in shapes,
        relative_buckets=buckets,
    )


def _shape(
    shapes: Mapping[str, jax.ShapeDtypeStruct], name: str, axes: int = 2
) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(
            f"expected the parameters of a T5, with {name}, got "
            f"{sorted(shapes)[:5]} ({len(shapes)})"
        )
    shape = shapes[name].shape
    if len(shape) != axes:
        raise ValueError(f"expected {axes} axes of {name}, got {shape}")
    return shape
