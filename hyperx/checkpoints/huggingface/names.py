"""Every tensor of a Hugging Face T5 and the parameter of ours that it is."""

import dataclasses
from collections.abc import Iterator

from hyperx.config import T5Config

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# transformers replaces the gelu of gated-gelu by gelu_new, the tanh approximation, and
# that is what "gelu" means in `T5Config`.
ACTIVATIONS = {"relu": ("relu",), "gated-gelu": ("gelu", "linear")}

TABLE, HEAD = "shared.weight", "lm_head.weight"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One of their tensors and where it belongs.

    Attributes:
        name: theirs.
        path: of the parameter, joined by ``/``.
        shape: of their tensor.
        layer: its place in a stacked parameter, or None.
        transpose: whether to swap the axes.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    layer: int | None = None
    transpose: bool = False


def tensors(config: T5Config, head: str = HEAD) -> Iterator[Tensor]:
    """All tensors of a checkpoint.

    Args:
        config: of the T5.
        head: the tensor that an output head of its own is in.
    """
    table = (config.vocab_size, config.embed_dim)
    yield Tensor(TABLE, "token_embedder/embedding", table)
    if not config.tie_embeddings:
        yield Tensor(head, "decoder/logits_dense/kernel", table, transpose=True)
    for stack, count in (
        ("encoder", config.num_encoder_layers),
        ("decoder", config.num_decoder_layers),
    ):
        yield Tensor(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            f"{stack}/relpos_bias/rel_embedding",
            (config.relative_buckets, config.num_heads),
            transpose=True,
        )
        norm = f"{stack}.final_layer_norm.weight"
        yield Tensor(norm, f"{stack}/{stack}_norm/scale", (config.embed_dim,))
        for layer in range(count):
            yield from _layer(config, stack, layer)


# Per sub-layer: their module, ours, and the normalisation before it.
_MLP = ("DenseReluDense", "mlp", "pre_mlp_layer_norm")
_SUBLAYERS = {
    "encoder": (("SelfAttention", "attention", "pre_attention_layer_norm"), _MLP),
    "decoder": (
        ("SelfAttention", "self_attention", "pre_self_attention_layer_norm"),
        (
            "EncDecAttention",
            "encoder_decoder_attention",
            "pre_cross_attention_layer_norm",
        ),
        _MLP,
    ),
}


def _layer(config: T5Config, stack: str, layer: int) -> Iterator[Tensor]:
    path = f"{stack}/layers"
    for place, (module, ours, norm) in enumerate(_SUBLAYERS[stack]):
        name = f"{stack}.block.{layer}.layer.{place}"
        scale = f"{path}/{norm}/scale"
        yield Tensor(f"{name}.layer_norm.weight", scale, (config.embed_dim,), layer)
        for theirs, kernel, shape in _kernels(config, module):
            yield Tensor(
                f"{name}.{module}.{theirs}.weight",
                f"{path}/{ours}/{kernel}/kernel",
                shape,
                layer,
                transpose=True,
            )


def _kernels(config: T5Config, module: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Linear layers of a module: their name, ours, and their shape."""
    embed, joined, mlp = config.embed_dim, config.joined_heads, config.mlp_dim
    if module == "DenseReluDense":
        inputs = [(name, name, (mlp, embed)) for name in config.mlp_inputs]
        return [*inputs, ("wo", "wo", (embed, mlp))]
    inputs = (("q", "query"), ("k", "key"), ("v", "value"))
    return [(theirs, ours, (joined, embed)) for theirs, ours in inputs] + [
        ("o", "out", (embed, joined))
    ]
