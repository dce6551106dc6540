"""Writes a Hugging Face folder."""

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401  names bfloat16 to numpy
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict

from hyperx.checkpoints.huggingface import names
from hyperx.config import T5Config

# transformers splits what is larger.
FILE_BYTES = 5 * 10**9


def write(
    directory: pathlib.Path,
    config: T5Config,
    params: Mapping[str, Any],
    *,
    dtype: str = "float32",
    file_bytes: int = FILE_BYTES,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes ``config.json`` and weights, a file of them in this memory at a time.

    Args:
        directory: a new one.
        config: of the T5.
        params: as `hyperx.backbone` names them, arrays of jax or numpy.
        dtype: ``float32`` or ``bfloat16``.
        file_bytes: the largest file.
        progress: is told the bytes of every file when it is written.

    Raises:
        ValueError: for what transformers' T5 has not: other activations, other
            parameters.
    """
    described = describe(config, dtype)
    flat = flatten_dict(params, sep="/")
    tensors = list(names.tensors(config))
    if left := sorted(flat.keys() - {tensor.path for tensor in tensors}):
        raise ValueError(
            f"expected the parameters of a T5, got {left[:5]} besides ({len(left)})"
        )
    directory.mkdir(parents=True)
    files = _files(tensors, np.dtype(dtype).itemsize, file_bytes)
    for file, members in files.items():
        arrays = {tensor.name: _value(flat, tensor, dtype) for tensor in members}
        safetensors.numpy.save_file(arrays, directory / file, {"format": "pt"})
        progress(sum(array.nbytes for array in arrays.values()))
    if len(files) > 1:
        _write_json(directory / names.INDEX, _index(files, np.dtype(dtype).itemsize))
    _write_json(directory / names.CONFIG, described)


def describe(config: T5Config, dtype: str) -> dict[str, Any]:
    """Their config.json.

    Raises:
        ValueError: for activations that their T5 has not.
    """
    known = {ours: theirs for theirs, ours in names.ACTIVATIONS.items()}
    if config.mlp_activations not in known:
        raise ValueError(
            f"expected activations of Hugging Face's T5, one of {list(known)}, got "
            f"{config.mlp_activations}"
        )
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.embed_dim,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "num_heads": config.num_heads,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": known[config.mlp_activations],
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "layer_norm_epsilon": config.norm_epsilon,
        "dropout_rate": config.dropout_rate,
        # The first says it to older versions, the second to version 5.
        "tie_word_embeddings": config.tie_embeddings,
        "scale_decoder_outputs": config.tie_embeddings,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "torch_dtype": dtype,
    }


def _files(
    tensors: list[names.Tensor], itemsize: int, limit: int
) -> dict[str, list[names.Tensor]]:
    """Tensors by file, in order, each file as full as it may be."""
    groups: list[list[names.Tensor]] = []
    room = 0
    for tensor in tensors:
        size = math.prod(tensor.shape) * itemsize
        if not groups or size > room:
            groups.append([])
            room = limit
        groups[-1].append(tensor)
        room -= size
    if len(groups) == 1:
        return {names.WEIGHTS: groups[0]}
    return {
        f"model-{number:05}-of-{len(groups):05}.safetensors": group
        for number, group in enumerate(groups, 1)
    }


def _value(flat: Mapping[str, Any], tensor: names.Tensor, dtype: str) -> np.ndarray:
    leaf = flat[tensor.path]
    value = np.asarray(leaf if tensor.layer is None else leaf[tensor.layer])
    value = value.T if tensor.transpose else value
    if value.shape != tensor.shape:
        raise ValueError(
            f"expected {tensor.shape} for {tensor.name}, got {value.shape}"
        )
    return np.ascontiguousarray(value, dtype)


def _index(files: Mapping[str, list[names.Tensor]], itemsize: int) -> dict[str, Any]:
    located = {t.name: file for file, members in files.items() for t in members}
    numbers = sum(math.prod(t.shape) for members in files.values() for t in members)
    return {"metadata": {"total_size": numbers * itemsize}, "weight_map": located}


def _write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
