"""Reads a Hugging Face folder."""

import json
import os
import pathlib
from typing import Any

import ml_dtypes  # noqa: F401  lets safetensors return bfloat16
import numpy as np
import safetensors
from flax.traverse_util import unflatten_dict

from hyperx.checkpoints.huggingface import names
from hyperx.config import T5Config

_MODEL_TYPES = ("t5", "mt5")
_COPIES = (
    "encoder.embed_tokens.weight",  # always equal to shared.weight
    "decoder.embed_tokens.weight",
    # Of the first converter; no such bias exists in T5 and transformers ignores it too.
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)


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
    described = _read_json(directory / names.CONFIG)
    tensors = _Tensors(directory)
    scaled, head = _head(described, tensors)
    config = _config(described, tie_embeddings=scaled, where=directory)
    sources = list(names.tensors(config, head))
    _check(sources, tensors, {*_COPIES, *((names.HEAD,) if scaled else ())})

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
        single, index = directory / names.WEIGHTS, directory / names.INDEX
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
    own = names.HEAD in tensors.files
    if scaled and own:
        head, table = tensors.get(names.HEAD), tensors.get(names.TABLE)
        if not np.array_equal(head, table):
            raise ValueError(
                "expected no lm_head.weight where config.json ties the head to the "
                "embeddings, got one that differs from shared.weight"
            )
    return scaled, names.HEAD if own or not tied else names.TABLE


def _config(
    described: dict[str, Any], *, tie_embeddings: bool, where: pathlib.Path
) -> T5Config:
    activation = described.get("feed_forward_proj", "relu")
    for key, value, allowed in (
        ("model_type", described.get("model_type"), _MODEL_TYPES),
        ("feed_forward_proj", activation, tuple(names.ACTIVATIONS)),
    ):
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
            mlp_activations=names.ACTIVATIONS[activation],
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


def _check(sources: list[names.Tensor], tensors: _Tensors, ignored: set[str]) -> None:
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
