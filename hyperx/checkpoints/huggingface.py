"""Reads T5 as saved by Hugging Face transformers, with neither it nor torch.

Their linear layers are ``[out, in]``, ours ``[in, out]``; their layers lie in separate
tensors, ours are stacked; the relative position bias, kept in the first layer of each
stack, is ``[buckets, heads]`` there and ``[heads, buckets]`` here.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes  # noqa: F401  lets safetensors return bfloat16
import numpy as np
import safetensors
from flax.traverse_util import unflatten_dict

from hyperx.config import T5Config

_MODEL_TYPES = ("t5", "mt5")
# transformers replaces the gelu of gated-gelu by gelu_new, the tanh approximation, and
# that is what "gelu" means in `T5Config`.
_ACTIVATIONS = {"relu": ("relu",), "gated-gelu": ("gelu", "linear")}
_COPIES = (
    "encoder.embed_tokens.weight",  # always equal to shared.weight
    "decoder.embed_tokens.weight",
    # Of the first converter; no such bias exists in T5 and transformers ignores it too.
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)


@dataclasses.dataclass(frozen=True)
class _Source:
    """One of their tensors and where it goes.

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


def read(directory: str | os.PathLike[str]) -> tuple[T5Config, dict[str, Any]]:
    """Reads a T5 v1.0 or v1.1 checkpoint, tensor by tensor.

    Args:
        directory: holds ``config.json`` and ``model.safetensors``, whole or in parts.

    Returns:
        The architecture, and float32 numpy parameters as `hyperx.backbone` names them.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for another architecture, and for tensors that are missing, left
            over or of another shape.
    """
    directory = pathlib.Path(directory)
    described = _read_json(directory / "config.json")
    tensors = _Tensors(directory)
    scaled, head = _head(described, tensors)
    config = _config(described, tie_embeddings=scaled, where=directory)
    sources = list(_sources(config, head))
    _check(sources, tensors, {*_COPIES, *(("lm_head.weight",) if scaled else ())})

    params: dict[str, np.ndarray] = {}
    layers = {
        "encoder": config.num_encoder_layers,
        "decoder": config.num_decoder_layers,
    }
    for source in sources:
        tensor = tensors.get(source.name)
        tensor = tensor.T if source.transpose else tensor
        if source.layer is None:
            params[source.path] = np.array(tensor, np.float32, order="C")
            continue
        if source.path not in params:
            count = layers[source.path.split("/")[0]]
            params[source.path] = np.empty((count, *tensor.shape), np.float32)
        params[source.path][source.layer] = tensor
    return config, unflatten_dict(params, sep="/")


class _Tensors:
    """The tensors of a checkpoint, whichever file they are in.

    Attributes:
        files: the file of every tensor.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        single, index = (
            directory / name
            for name in ("model.safetensors", "model.safetensors.index.json")
        )
        self._open: dict[pathlib.Path, Any] = {}
        self.files: dict[str, pathlib.Path] = {}
        if single.exists():
            self.files = dict.fromkeys(self._file(single).keys(), single)
        elif index.exists():
            weights = _read_json(index)["weight_map"]
            self.files = {name: directory / file for name, file in weights.items()}
        elif list(directory.glob("*.bin")):
            raise ValueError(
                f"expected model.safetensors in {directory}, got a pickle, which may "
                "run any code when read. Convert it where transformers is installed: "
                "AutoModelForSeq2SeqLM.from_pretrained(DIR).save_pretrained(NEW_DIR)"
            )
        else:
            raise FileNotFoundError(
                f"expected {single.name} or {index.name} in {directory}"
            )

    def get(self, name: str) -> np.ndarray:
        """Reads one tensor."""
        return self._file(self.files[name]).get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._file(self.files[name]).get_slice(name).get_shape())

    def _file(self, path: pathlib.Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safetensors.safe_open(path, framework="numpy")
            except safetensors.SafetensorError as error:
                raise ValueError(
                    f"expected safetensors in {path}, got: {error}"
                ) from error
        return self._open[path]


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {path}, got: {error}") from error


def _head(described: dict[str, Any], tensors: _Tensors) -> tuple[bool, str]:
    """Whether decoder outputs are scaled, as in T5 v1.0, and the head's tensor.

    Of old, ``tie_word_embeddings`` said both that outputs are scaled and that the head
    is the embedding table. transformers 5 calls every model tied, keeps the first in
    ``scale_decoder_outputs``, and shows the second by writing no head.
    """
    tied = described.get("tie_word_embeddings", True)
    scaled = described.get("scale_decoder_outputs", tied)
    own = "lm_head.weight" in tensors.files
    if scaled and own:
        head, table = tensors.get("lm_head.weight"), tensors.get("shared.weight")
        if not np.array_equal(head, table):
            raise ValueError(
                "expected no lm_head.weight where config.json ties the head to the "
                "embeddings, got one that differs from shared.weight"
            )
    return scaled, "lm_head.weight" if own or not tied else "shared.weight"


def _config(
    described: dict[str, Any], *, tie_embeddings: bool, where: pathlib.Path
) -> T5Config:
    for key, allowed in (
        ("model_type", _MODEL_TYPES),
        ("feed_forward_proj", tuple(_ACTIVATIONS)),
    ):
        value = described.get(key, "relu" if key == "feed_forward_proj" else None)
        if value not in allowed:
            raise ValueError(
                f"expected {key} in {where}/config.json to be one of {allowed}, "
                f"got {value!r}"
            )
    try:
        return T5Config(
            vocab_size=described["vocab_size"],
            embed_dim=described["d_model"],
            num_heads=described["num_heads"],
            head_dim=described["d_kv"],
            mlp_dim=described["d_ff"],
            num_encoder_layers=described["num_layers"],
            num_decoder_layers=described.get("num_decoder_layers")
            or described["num_layers"],
            mlp_activations=_ACTIVATIONS[described.get("feed_forward_proj", "relu")],
            tie_embeddings=tie_embeddings,
            relative_buckets=described.get("relative_attention_num_buckets", 32),
            relative_max_distance=described.get("relative_attention_max_distance", 128),
            norm_epsilon=described.get("layer_norm_epsilon", 1e-6),
            dropout_rate=described.get("dropout_rate", 0.1),
        )
    except KeyError as error:
        raise ValueError(
            f"expected {error} in {where}/config.json, got none"
        ) from error


def _sources(config: T5Config, head: str) -> Iterator[_Source]:
    """All tensors of a checkpoint; `head` is the one that the output head is in."""
    table = (config.vocab_size, config.embed_dim)
    yield _Source("shared.weight", "token_embedder/embedding", table)
    if not config.tie_embeddings:
        yield _Source(head, "decoder/logits_dense/kernel", table, transpose=True)
    buckets = (config.relative_buckets, config.num_heads)
    for stack, count, parts in (
        ("encoder", config.num_encoder_layers, _ENCODER_LAYER),
        ("decoder", config.num_decoder_layers, _DECODER_LAYER),
    ):
        yield _Source(
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            f"{stack}/relpos_bias/rel_embedding",
            buckets,
            transpose=True,
        )
        yield _Source(
            f"{stack}.final_layer_norm.weight",
            f"{stack}/{stack}_norm/scale",
            (config.embed_dim,),
        )
        for layer in range(count):
            for place, (module, ours, norm) in enumerate(parts):
                name = f"{stack}.block.{layer}.layer.{place}"
                path = f"{stack}/layers"
                scale = (config.embed_dim,)
                yield _Source(
                    f"{name}.layer_norm.weight", f"{path}/{norm}/scale", scale, layer
                )
                for theirs, kernel, shape in _kernels(config, module):
                    yield _Source(
                        f"{name}.{module}.{theirs}.weight",
                        f"{path}/{ours}/{kernel}/kernel",
                        shape,
                        layer,
                        transpose=True,
                    )


# Per sub-layer: their module, ours, and the normalisation before it.
_MLP = ("DenseReluDense", "mlp", "pre_mlp_layer_norm")
_ENCODER_LAYER = (("SelfAttention", "attention", "pre_attention_layer_norm"), _MLP)
_DECODER_LAYER = (
    ("SelfAttention", "self_attention", "pre_self_attention_layer_norm"),
    ("EncDecAttention", "encoder_decoder_attention", "pre_cross_attention_layer_norm"),
    _MLP,
)


def _kernels(config: T5Config, module: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Linear layers of a module: their name, ours, and their shape."""
    embed, joined, mlp = config.embed_dim, config.joined_heads, config.mlp_dim
    if module == "DenseReluDense":
        gated = len(config.mlp_activations) > 1
        inputs = ("wi_0", "wi_1") if gated else ("wi",)
        return [(n, n, (mlp, embed)) for n in inputs] + [("wo", "wo", (embed, mlp))]
    inputs = (("q", "query"), ("k", "key"), ("v", "value"))
    return [(theirs, ours, (joined, embed)) for theirs, ours in inputs] + [
        ("o", "out", (embed, joined))
    ]


def _check(sources: list[_Source], tensors: _Tensors, ignored: set[str]) -> None:
    """Checks that exactly the right tensors are there, before reading any."""
    expected = {source.name: source.shape for source in sources}
    missing = sorted(expected.keys() - tensors.files.keys())
    surplus = sorted(tensors.files.keys() - expected.keys() - ignored)
    wrong = [
        f"{name}: expected {shape}, got {tensors.shape(name)}"
        for name, shape in expected.items()
        if name in tensors.files and tensors.shape(name) != shape
    ]
    if missing or surplus or wrong:
        raise ValueError(
            "the tensors do not fit config.json: "
            f"missing {missing[:5]} ({len(missing)}), not expected {surplus[:5]} "
            f"({len(surplus)}), of another shape {wrong[:5]} ({len(wrong)})"
        )
