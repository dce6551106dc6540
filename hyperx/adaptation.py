"""The contract between hypernetworks and the backbone: generated weights as data.

Everything here is an ordinary pytree of arrays that travels as call arguments. No part
is ever a variable of a module, and none is ever copied over rows or beams.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hyperx import sharding
from hyperx.axes import BOTTLENECK, EMBED, GROUPS, HEAD_DIM, HEADS, LAYERS, PREFIX

_FORMAT = "hyperx-task-state-1"


@struct.dataclass
class Prefix:
    """Keys and values put in front of an attention's own (Li and Liang 2021).

    Attributes:
        key: ``[G, P, H, K]``.
        value: ``[G, P, H, K]``.
    """

    key: jax.Array
    value: jax.Array

    AXES: ClassVar = {
        "key": (GROUPS, PREFIX, HEADS, HEAD_DIM),
        "value": (GROUPS, PREFIX, HEADS, HEAD_DIM),
    }


@struct.dataclass
class Adapter:
    """Bottleneck adapter parallel to its sub-layer: unit m reads and writes one row.

    Attributes:
        down: ``[G, M, D]``.
        up: ``[G, M, D]``.
        down_bias: ``[G, M]``.
        up_bias: ``[G, D]``.
        activation: between the two; a name known to `hyperx.ops.activations`.
    """

    down: jax.Array
    up: jax.Array
    down_bias: jax.Array
    up_bias: jax.Array
    activation: str = struct.field(pytree_node=False, default="gelu")

    AXES: ClassVar = {
        "down": (GROUPS, BOTTLENECK, EMBED),
        "up": (GROUPS, BOTTLENECK, EMBED),
        "down_bias": (GROUPS, BOTTLENECK),
        "up_bias": (GROUPS, EMBED),
    }


@struct.dataclass
class SiteParts:
    """What is generated for one sub-layer; absent parts are None."""

    prefix: Prefix | None = None
    adapter: Adapter | None = None


@struct.dataclass
class LayerAdaptation:
    """What is generated for one layer, or with a leading L on every leaf, for all."""

    self_attention: SiteParts = SiteParts()
    cross_attention: SiteParts = SiteParts()
    mlp: SiteParts = SiteParts()


@struct.dataclass
class Encoded:
    """Encoder output that a decoder may attend to.

    Attributes:
        hidden: ``[G, R, S, D]``, or ``[G, I, D]`` where all rows of a group share it.
        mask: ``[G, R, S]`` or ``[G, I]``, True where there is a token.
    """

    hidden: jax.Array
    mask: jax.Array


@struct.dataclass
class Memory:
    """`Encoded` after each decoder layer's key and value projections.

    Attributes:
        key: ``[L, G, R, S, H, K]`` or ``[L, G, I, H, K]``.
        value: as `key`.
        mask: ``[G, R, S]`` or ``[G, I]``.
    """

    key: jax.Array
    value: jax.Array
    mask: jax.Array


@struct.dataclass
class TaskState:
    """All that is kept of G conditions: enough to serve them without a hypernetwork.

    Attributes:
        encoder: generated weights of the encoder, leaves ``[L, G, ...]``.
        decoder: generated weights of the decoder, leaves ``[L, G, ...]``.
        memory: the fused conditions, or None.
        fingerprint: of the model that made the state.
    """

    encoder: LayerAdaptation
    decoder: LayerAdaptation
    memory: Memory | None = None
    fingerprint: str = struct.field(pytree_node=False, default="")

    @property
    def groups(self) -> int:
        """Number of conditions held (G); 1 for a state without generated parts."""
        leaves = jax.tree.leaves((self.encoder, self.decoder))
        if leaves:
            return leaves[0].shape[1]
        return 1 if self.memory is None else self.memory.mask.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self))

    def take(self, indices: Sequence[int] | jax.Array) -> "TaskState":
        """The conditions at `indices` ``[G']``, in that order."""
        indices = jnp.asarray(indices)
        return jax.tree.map(
            lambda axis, leaf: jnp.take(leaf, indices, axis), self._group_axes(), self
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a safetensors file with a JSON header; replaces `path` at once."""
        path = pathlib.Path(path)
        arrays, statics = _flatten(self)
        header = {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "statics": json.dumps(statics),
        }
        partial = path.with_name(path.name + ".partial")
        save_file(arrays, partial, header)
        partial.replace(path)

    def _group_axes(self) -> "TaskState":
        """The same tree with the position of axis G per leaf."""
        parts = jax.tree.map(lambda leaf: 1, (self.encoder, self.decoder))
        memory = None if self.memory is None else Memory(key=1, value=1, mask=0)
        return self.replace(encoder=parts[0], decoder=parts[1], memory=memory)


def concat(states: Sequence[TaskState]) -> TaskState:
    """Joins the conditions of several states of one model.

    Raises:
        ValueError: if the states come from different models or differ in structure.
    """
    models = {state.fingerprint for state in states}
    if len(models) != 1:
        raise ValueError(f"expected states of one model, got fingerprints {models}")
    memories = [state.memory for state in states if state.memory is not None]
    longest = max((memory.mask.shape[-1] for memory in memories), default=0)
    return jax.tree.map(
        lambda axis, *leaves: jnp.concatenate(leaves, axis),
        states[0]._group_axes(),
        *(_with_memory_length(state, longest) for state in states),
    )


def _with_memory_length(state: TaskState, length: int) -> TaskState:
    """Pads a state's memory with invisible positions up to `length`."""
    if state.memory is None:
        return state
    missing = length - state.memory.mask.shape[-1]

    def pad(leaf: jax.Array, axis: int) -> jax.Array:
        widths = [(0, 0)] * leaf.ndim
        widths[axis] = (0, missing)
        return jnp.pad(leaf, widths)

    memory = state.memory
    memory = Memory(pad(memory.key, 2), pad(memory.value, 2), pad(memory.mask, 1))
    return state.replace(memory=memory)


def load_state(path: str | pathlib.Path) -> TaskState:
    """Reads a state written by `TaskState.save`; needs no model.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a task state.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"expected a task state at {path}, found no file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"expected a task state in {path}, got: {error}") from error
    if header.get("format") != _FORMAT:
        raise ValueError(
            f"expected format {_FORMAT!r} in {path}, got {header.get('format')!r}"
        )
    return _unflatten(arrays, json.loads(header["statics"]), header["fingerprint"])


def constrain(parts: LayerAdaptation) -> LayerAdaptation:
    """Fixes the sharding of every generated array of one or of all layers."""
    return jax.tree.map(
        sharding.constrain,
        parts,
        axes(parts),
    )


def axes(parts: LayerAdaptation) -> LayerAdaptation:
    """Logical axis names of every leaf, with ``layers`` in front where L leads."""

    def of_part(part: Any) -> Any:
        names = {}
        for field, own in part.AXES.items():
            extra = getattr(part, field).ndim - len(own)
            names[field] = (LAYERS,) * extra + own
        return part.replace(**names)

    return jax.tree.map(of_part, parts, is_leaf=_is_part)


def _is_part(node: Any) -> bool:
    return hasattr(node, "AXES")


_PARTS = {"prefix": Prefix, "adapter": Adapter}
_STACKS = ("encoder", "decoder")
_SITES = ("self_attention", "cross_attention", "mlp")


def _flatten(state: TaskState) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by path, and the activation of each adapter by path."""
    arrays, statics = {}, {}
    for stack in _STACKS:
        for site in _SITES:
            for kind in _PARTS:
                part = getattr(getattr(getattr(state, stack), site), kind)
                if part is None:
                    continue
                path = f"{stack}/{site}/{kind}"
                statics[path] = getattr(part, "activation", "")
                for field in part.AXES:
                    arrays[f"{path}/{field}"] = np.asarray(getattr(part, field))
    if state.memory is not None:
        for field in ("key", "value", "mask"):
            arrays[f"memory/{field}"] = np.asarray(getattr(state.memory, field))
    return arrays, statics


def _unflatten(
    arrays: dict[str, np.ndarray], statics: dict[str, str], fingerprint: str
) -> TaskState:
    stacks: dict[str, dict[str, SiteParts]] = {stack: {} for stack in _STACKS}
    for path, activation in statics.items():
        stack, site, kind = path.split("/")
        part = _PARTS[kind]
        fields = {field: jnp.asarray(arrays[f"{path}/{field}"]) for field in part.AXES}
        if activation:
            fields["activation"] = activation
        parts = stacks[stack].get(site, SiteParts())
        stacks[stack][site] = parts.replace(**{kind: part(**fields)})
    memory = None
    if "memory/key" in arrays:
        memory = Memory(
            *(jnp.asarray(arrays[f"memory/{f}"]) for f in ("key", "value", "mask"))
        )
    return TaskState(
        encoder=LayerAdaptation(**stacks["encoder"]),
        decoder=LayerAdaptation(**stacks["decoder"]),
        memory=memory,
        fingerprint=fingerprint,
    )
