"""PEFT folders: a task state as `peft` puts it onto the backbone's Hugging Face T5.

A folder has the configuration of one kind of adapter and its arrays. Low-rank updates
are LoRA (Hu et al. 2022), factors IA3 (Liu et al. 2022), embeddings in front of inputs
prompt tuning (Lester et al. 2021): all three do there what they do here.

NOTE: PEFT's prefix tuning of a T5 fills the decoder's self-attention cache and nothing
else, and a cache has positions: T5 adds its relative bias to the scores of the prefix.
Prefixes of hyperx have no positions, but perhaps a gate. What that leaves is in
`_prefixes`.
"""

import json
import pathlib
import re
from typing import Any

import jax
import ml_dtypes  # noqa: F401  names bfloat16 to numpy
import numpy as np
import safetensors.numpy

from hyperx.adaptation import LowRank, Prefix, Scale
from hyperx.checkpoints.huggingface import names
from hyperx.inference import merging
from hyperx.runs.exits import parts
from hyperx.task_state import TaskState

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# What PEFT wraps around the names of transformers.
_ROOT = "base_model.model."
_PREFIX = "decoder/self_attention/prefix"
_HOLDS = (
    "expected one of the following, which is what a PEFT folder can hold of a T5: "
    "low-rank updates (LoRA); factors (IA3); a soft prompt (prompt tuning); a prefix "
    f"at {_PREFIX} alone (prefix tuning)"
)

Adapter = tuple[dict[str, Any], dict[str, np.ndarray]]


def write(
    directory: pathlib.Path,
    state: TaskState,
    *,
    dtype: str = "float32",
    bias: jax.Array | None = None,
) -> None:
    """Writes ``adapter_config.json`` and ``adapter_model.safetensors``.

    Args:
        directory: a new one.
        state: of one condition.
        dtype: of the arrays, ``float32`` or ``bfloat16``.
        bias: the decoder's table of relative position bias ``[H, buckets]``; prefixes
            need it.

    Raises:
        ValueError: if PEFT cannot hold what the state holds.
    """
    config, arrays = adapter(state, bias)
    directory.mkdir(parents=True)
    common = {
        "task_type": "SEQ_2_SEQ_LM",
        "inference_mode": True,
        "base_model_name_or_path": None,
    }
    text = json.dumps(config | common, indent=2, sort_keys=True)
    (directory / CONFIG).write_text(text + "\n", encoding="utf-8")
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(x, dtype) for name, x in arrays.items()},
        directory / WEIGHTS,
        {"format": "pt"},
    )


def adapter(state: TaskState, bias: jax.Array | None = None) -> Adapter:
    """PEFT's configuration of what a state holds, and its arrays by name.

    Args:
        state: of one condition.
        bias: as for `write`.

    Raises:
        ValueError: if PEFT cannot hold that.
    """
    if state.groups != 1:
        raise ValueError(f"expected a state of one condition, got {state.groups}")
    found = parts.of(state)
    kinds = {parts.kind(part) for part in found.values()}
    if kinds == {"LowRank"}:
        return _low_rank(found)
    if kinds == {"Scale"}:
        return _factors(found)
    if kinds == {"Prompt"}:
        return _prompt(found["prompt"])
    if found.keys() == {_PREFIX}:
        return _prefixes(found[_PREFIX], bias)
    raise ValueError(f"{_HOLDS}; got a state with {parts.listed(found)}")


def _low_rank(found: dict[str, LowRank]) -> Adapter:
    """LoRA: updates by linear layer, with ranks and factors of their own."""
    ranks, alphas, arrays = {}, {}, {}
    for path, part in found.items():
        kernel = _kernel(path)
        rank = part.a.shape[-2]
        ranks[_pattern(kernel)] = rank
        alphas[_pattern(kernel)] = part.scale * rank
        a, b = np.asarray(part.a[:, 0]), np.asarray(part.b[:, 0])
        for layer in range(len(a)):
            module = _ROOT + names.linear(kernel, layer)
            arrays[f"{module}.lora_A.weight"] = a[layer]
            arrays[f"{module}.lora_B.weight"] = b[layer].T
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "target_modules": "|".join(ranks),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {k: v for k, v in ranks.items() if v != rank},
        "alpha_pattern": {k: v for k, v in alphas.items() if v != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
    }
    return config, arrays


def _factors(found: dict[str, Scale]) -> Adapter:
    """IA3: factors of what a linear layer writes, or of what the last one reads."""
    targets, reading, arrays = [], [], {}
    for path, part in found.items():
        kernel, hidden = _kernel(path), path.endswith("/hidden")
        targets.append(_pattern(kernel))
        if hidden:
            reading.append(_pattern(kernel))
        for layer, factor in enumerate(np.asarray(part.factor[:, 0])):
            module = _ROOT + names.linear(kernel, layer)
            arrays[f"{module}.ia3_l"] = factor[None] if hidden else factor[:, None]
    config = {
        "peft_type": "IA3",
        "target_modules": "|".join(targets),
        # Without any, PEFT would take those that it knows of T5, unless it is a list.
        "feedforward_modules": "|".join(reading) or [],
        "fan_in_fan_out": False,
    }
    return config, arrays


def _prompt(prompt: jax.Array) -> Adapter:
    """Prompt tuning: embeddings ``[1, P, D]`` in front of what the encoder reads."""
    (embeddings,) = np.asarray(prompt)
    config = {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": embeddings.shape[0],
        "token_dim": embeddings.shape[1],
        "num_transformer_submodules": 1,
    }
    return config, {"prompt_embeddings": embeddings}


def _prefixes(prefix: Prefix, bias: jax.Array | None) -> Adapter:
    """Prefix tuning of decoder self-attention, where positions change nothing.

    T5 adds ``bias[h, bucket]`` to scores of a prefix that PEFT put there, by a distance
    of at least 1; hyperx adds a gate, or nothing.

    Args:
        prefix: leaves ``[L, 1, P, H, K]``, gate ``[L, 1, H]``.
        bias: the decoder's table ``[H, buckets]``.
    """
    if bias is None:
        raise ValueError(
            "expected the model that the state belongs to (--model_dir): PEFT's prefix "
            "tuning depends on its relative position bias"
        )
    gate = 0.0 if prefix.gate is None else np.asarray(prefix.gate)[:, 0, :, None]
    if np.any(np.asarray(bias)[None, :, 1:] != gate):
        raise ValueError(
            "expected a model in which positions change nothing: PEFT puts prefixes "
            "into the decoder's cache, where T5 adds its relative position bias to "
            f"their scores, up to {np.abs(np.asarray(bias)[:, 1:]).max():.3g} in this "
            f"model; got a state with {parts.listed({_PREFIX: prefix})}, which has no "
            "positions"
        )
    return _cache(np.asarray(prefix.key[:, 0]), np.asarray(prefix.value[:, 0]))


def _cache(key: np.ndarray, value: np.ndarray) -> Adapter:
    """Prefix tuning with keys and values ``[L, P, H, K]``.

    PEFT doubles the vectors of a position, for the two attentions of a decoder layer,
    and deals four to a layer: its keys, its values, and two for cross-attention that it
    drops. Told of L layers, it would have 4 L to deal, of which half are copies, and
    layers would share prefixes; told of 2 L, every layer has its own.
    """
    layers, length, heads, width = key.shape
    dealt = np.zeros((length, layers, 4, heads * width), key.dtype)
    dealt[:, :, 0] = key.reshape(layers, length, -1).swapaxes(0, 1)
    dealt[:, :, 1] = value.reshape(layers, length, -1).swapaxes(0, 1)
    config = {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": length,
        "token_dim": heads * width,
        "num_attention_heads": heads,
        "num_layers": 2 * layers,
        "num_transformer_submodules": 2,
        "encoder_hidden_size": heads * width,
        "prefix_projection": False,
    }
    return config, {"prompt_embeddings": dealt.reshape(length, -1)}


def _kernel(path: str) -> str:
    stack, site, _, name = path.split("/")
    return merging.kernel(stack, site, name)


def _pattern(kernel: str) -> str:
    """Matches the names of a kernel's linear layers, of all layers of the stack."""
    return re.escape(names.linear(kernel, 0)).replace("0", r"\d+", 1)
