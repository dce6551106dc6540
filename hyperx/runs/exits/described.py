"""Self-describing folders: a task state's arrays, and JSON that says how to apply them.

The arrays are a file as `TaskState.save` writes it, so that `hyperx.load_state` reads
it back; the JSON tells what they are to somebody without hyperx.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from hyperx import axes
from hyperx.adaptation import Memory, Part, is_part
from hyperx.model import ModelConfig
from hyperx.runs.exits import parts
from hyperx.task_state import TaskState

ARRAYS, DESCRIPTION = "adaptation.safetensors", "adaptation.json"
FORMAT = "hyperx-adaptation-1"

_AXES = {
    axes.LAYERS: "layers of the stack, from its input to its output",
    axes.GROUPS: "conditions, in the order in which they were given; of size 1 where "
    "all share the values",
    axes.CONDITION_LENGTH: "tokens of the condition, padded",
    axes.PREFIX: "positions in front of the others",
    axes.EMBED: "model width (d_model)",
    axes.HEADS: "attention heads",
    axes.HEAD_DIM: "width of one head (d_kv)",
    axes.JOINED_HEADS: "all heads joined, head by head: heads x kv",
    axes.MLP: "hidden units of the feed-forward layer (d_ff)",
    axes.BOTTLENECK: "hidden units of an adapter",
    axes.RANK: "units of a low-rank update",
}

# How a part is applied to one example, one layer and one condition.
_APPLIED = {
    "LowRank": "Of a projection y = x W with kernel W [in, out], named by the last "
    "component of the path (query, key, value, out of the attention; wi, wi_0, wi_1, "
    "wo of the feed-forward layer): y = x W + scale * (x a^T) b.",
    "Scale": "factor multiplies, number by number, what the projection `key` or "
    "`value` writes, after its low-rank update if there is one; `hidden`: what the "
    "feed-forward layer's last projection, wo, reads.",
    "Prefix": "key and value are put in front of the keys and values of the attention. "
    "They are visible to every position and have no position: no relative bias is "
    "added to their scores, but gate is, if there is one. In a cross-attention they "
    "join those of the encoded input.",
    "Adapter": "f(x) = activation(x down^T + down_bias) up + up_bias; then, if "
    "there is norm_scale, layer normalisation over the model width (epsilon 1e-5, mean "
    "subtracted) times norm_scale plus norm_bias. With r the residual stream before "
    "the sub-layer, n its RMS normalisation, which the sub-layer S reads: placement "
    "parallel: r + S(n) + f(n); residual: r + S(n) + f(r); sequential: r + S(n) + "
    "f(S(n)). `gelu` is the tanh approximation.",
    "Memory": "Keys and values of the encoded condition: every decoder layer's "
    "cross-attention attends to them and to those of the encoded input in one softmax, "
    "without positions. Where mask is false there is no token, and none is visible.",
    "Prompt": "Embeddings in front of the embeddings of the input's tokens. The "
    "encoder counts their positions, and the decoder attends to what becomes of them.",
}


def write(
    directory: pathlib.Path, state: TaskState, model: ModelConfig | None = None
) -> None:
    """Writes ``adaptation.safetensors`` and ``adaptation.json``.

    Args:
        directory: a new one.
        state: of any number of conditions.
        model: that made the state, if it is known.

    Raises:
        ValueError: if the state holds nothing.
    """
    described = describe(state, model)
    directory.mkdir(parents=True)
    state.save(directory / ARRAYS)
    text = json.dumps(described, indent=2)
    (directory / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def describe(state: TaskState, model: ModelConfig | None = None) -> dict[str, Any]:
    """What a state holds, where every array of it lies, and how it is applied.

    Args:
        state: of any number of conditions.
        model: that made the state, if it is known.

    Raises:
        ValueError: if the state holds nothing.
    """
    found = parts.of(state)
    if not found:
        raise ValueError("expected generated weights, a memory or a prompt, got none")
    arrays = _arrays(state)
    used = {name for array in arrays.values() for name in array["axes"]}
    kinds = {parts.kind(part) for part in found.values()}
    return {
        "format": FORMAT,
        "fingerprint": state.fingerprint,
        "model": None if model is None else model.to_json(),
        "conditions": state.groups,
        "axes": {name: text for name, text in _AXES.items() if name in used},
        "kinds": {kind: text for kind, text in _APPLIED.items() if kind in kinds},
        "parts": {path: _statics(part) for path, part in found.items()},
        "arrays": arrays,
    }


def _statics(part: Part | Memory | jax.Array) -> dict[str, Any]:
    """The kind of a part and what it has besides arrays."""
    described: dict[str, Any] = {"kind": parts.kind(part)}
    if is_part(part):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if isinstance(value, (str, float)):
                described[field.name] = value
    return described


def _arrays(state: TaskState) -> dict[str, dict[str, Any]]:
    """Shape, type and axes of every array, by its name in the file."""
    named = jax.tree_util.tree_leaves_with_path(
        state.axes(), is_leaf=lambda node: isinstance(node, tuple)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): {
            "shape": list(leaf.shape),
            "dtype": str(leaf.dtype),
            "axes": list(names),
        }
        for (path, names), leaf in zip(named, jax.tree.leaves(state), strict=True)
    }
