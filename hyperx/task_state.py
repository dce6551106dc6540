"""Task states: all that is kept of conditions, as data that is saved and joined."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hyperx import sharding
from hyperx.adaptation import (
    Adapter,
    LayerAdaptation,
    LowRank,
    Memory,
    Prefix,
    Scale,
    SiteParts,
    is_part,
)
from hyperx.adaptation import axes as axes_of
from hyperx.axes import (
    CONDITION_LENGTH,
    EMBED,
    GROUPS,
    HEAD_DIM,
    HEADS,
    LAYERS,
    LENGTH,
    PREFIX,
    ROWS,
)

_FORMAT = "hyperx-task-state-2"
_KINDS = {kind.__name__: kind for kind in (Prefix, Adapter, LowRank, Scale)}
_STACKS = ("encoder", "decoder")


@struct.dataclass
class TaskState:
    """All that is kept of G conditions: enough to serve them without a hypernetwork.

    Attributes:
        encoder: generated weights of the encoder, leaves ``[L, G, ...]``.
        decoder: generated weights of the decoder, leaves ``[L, G, ...]``.
        memory: the fused conditions, or None.
        prompt: embeddings in front of every input ``[G, P, D]``, or None.
        fingerprint: of the model that made the state.
    """

    encoder: LayerAdaptation = LayerAdaptation()
    decoder: LayerAdaptation = LayerAdaptation()
    memory: Memory | None = None
    prompt: jax.Array | None = None
    fingerprint: str = struct.field(pytree_node=False, default="")

    @property
    def groups(self) -> int:
        """Number of conditions held (G); 1 for a state without generated parts."""
        sizes = jax.tree.map(
            lambda axis, leaf: leaf.shape[axis], self._group_axes(), self
        )
        return max(jax.tree.leaves(sizes), default=1)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self))

    def axes(self) -> "TaskState":
        """The same tree with the logical axis names of every leaf."""
        return self.replace(
            encoder=axes_of(self.encoder),
            decoder=axes_of(self.decoder),
            memory=None if self.memory is None else _memory_axes(self.memory),
            prompt=None if self.prompt is None else (GROUPS, PREFIX, EMBED),
        )

    def constrain(self) -> "TaskState":
        """The same, lying on the ambient mesh as its axes declare."""
        return jax.tree.map(sharding.constrain, self, self.axes())

    def broadcast(self, groups: int) -> "TaskState":
        """The same with G = `groups` on every leaf, also where all groups share it."""

        def repeat(axis: int, leaf: jax.Array) -> jax.Array:
            shape = list(leaf.shape)
            shape[axis] = groups
            return jnp.broadcast_to(leaf, shape)

        return jax.tree.map(repeat, self._group_axes(), self)

    def take(self, indices: Sequence[int] | jax.Array) -> "TaskState":
        """The conditions at `indices` ``[G']``, in that order.

        Raises:
            IndexError: if there is no such condition, or `indices` is one number.
        """
        if not isinstance(indices, jax.core.Tracer):
            _check_indices(np.asarray(indices), self.groups)
        indices = jnp.asarray(indices)
        return jax.tree.map(
            lambda axis, leaf: jnp.take(leaf, indices, axis), self._group_axes(), self
        )

    def save(self, path: str | pathlib.Path) -> None:
        """Writes a safetensors file with a JSON header; replaces `path` at once.

        Raises:
            OSError: if it cannot be written.
        """
        path = pathlib.Path(path)
        arrays, parts = _flatten(self)
        header = {
            "format": _FORMAT,
            "fingerprint": self.fingerprint,
            "parts": json.dumps(parts),
        }
        partial = path.with_name(path.name + ".partial")
        try:
            save_file(arrays, partial, header)
            partial.replace(path)
        except SafetensorError as error:  # What it says of a full disk, too.
            raise OSError(f"expected to write {path}, got: {error}") from error
        finally:
            partial.unlink(missing_ok=True)

    def _group_axes(self) -> "TaskState":
        """The same tree with the position of axis G per leaf."""
        return jax.tree.map(
            lambda names: names.index(GROUPS),
            self.axes(),
            is_leaf=lambda node: isinstance(node, tuple),
        )


def _check_indices(indices: np.ndarray, groups: int) -> None:
    if indices.ndim != 1 or np.any((indices < -groups) | (indices >= groups)):
        raise IndexError(
            f"expected a list of conditions among {groups}, from 0 on, got "
            f"{indices.tolist()}"
        )


def _memory_axes(memory: Memory) -> Memory:
    length = (CONDITION_LENGTH,) if memory.mask.ndim == 2 else (ROWS, LENGTH)
    projected = (LAYERS, GROUPS, *length, HEADS, HEAD_DIM)
    return Memory(key=projected, value=projected, mask=(GROUPS, *length))


def concat(states: Sequence[TaskState]) -> TaskState:
    """Joins the conditions of several states of one model.

    Raises:
        ValueError: if the states come from different models or differ in structure.
    """
    models = {state.fingerprint for state in states}
    if len(models) != 1:
        raise ValueError(f"expected states of one model, got fingerprints {models}")
    longest = max((s.memory.length for s in states if s.memory is not None), default=0)
    return jax.tree.map(
        lambda axis, *leaves: jnp.concatenate(leaves, axis),
        states[0]._group_axes(),
        *(_with_memory_length(state, longest) for state in states),
    )


def _with_memory_length(state: TaskState, length: int) -> TaskState:
    memory = state.memory
    return state if memory is None else state.replace(memory=memory.padded(length))


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
    state = _unflatten(arrays, json.loads(header["parts"]))
    return state.replace(fingerprint=header["fingerprint"])


def _flatten(
    state: TaskState,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """Arrays by path; and by path of each part its kind and static fields."""
    arrays, parts = {}, {}
    for stack in _STACKS:
        adaptation = getattr(state, stack)
        for keys, part in jax.tree_util.tree_leaves_with_path(
            adaptation, is_leaf=is_part
        ):
            names = jax.tree_util.keystr(keys, simple=True, separator="/")
            path = f"{stack}/{names}"
            parts[path] = {"kind": type(part).__name__}
            for field in dataclasses.fields(part):
                value = getattr(part, field.name)
                if isinstance(value, (str, float)):
                    parts[path][field.name] = value
                elif value is not None:
                    arrays[f"{path}/{field.name}"] = _dense(value)
    if state.memory is not None:
        for field in ("key", "value", "mask"):
            arrays[f"memory/{field}"] = _dense(getattr(state.memory, field))
    if state.prompt is not None:
        arrays["prompt"] = _dense(state.prompt)
    return arrays, parts


def _dense(array: jax.Array) -> np.ndarray:
    """On the host, row by row: safetensors writes memory as it lies."""
    return np.ascontiguousarray(array).reshape(array.shape)


def _unflatten(
    arrays: dict[str, np.ndarray], parts: dict[str, dict[str, Any]]
) -> TaskState:
    fields = {name: jnp.asarray(array) for name, array in arrays.items()}
    stacks: dict[str, LayerAdaptation] = {s: LayerAdaptation() for s in _STACKS}
    for path, statics in parts.items():
        kind = _KINDS[statics.pop("kind")]
        own = {
            name.rpartition("/")[2]: array
            for name, array in fields.items()
            if name.rpartition("/")[0] == path
        }
        stack, site, *rest = path.split("/")
        stacks[stack] = _with_part(stacks[stack], site, rest, kind(**own, **statics))
    memory = None
    if "memory/key" in fields:
        memory = Memory(*(fields[f"memory/{f}"] for f in ("key", "value", "mask")))
    return TaskState(stacks["encoder"], stacks["decoder"], memory, fields.get("prompt"))


def _with_part(
    adaptation: LayerAdaptation, site: str, rest: list[str], part: Any
) -> LayerAdaptation:
    """`adaptation` with a part more, at ``site/slot`` or ``site/slot/name``."""
    parts: SiteParts = getattr(adaptation, site)
    slot, *name = rest
    value = part if not name else getattr(parts, slot) | {name[0]: part}
    return adaptation.replace(**{site: parts.replace(**{slot: value})})
