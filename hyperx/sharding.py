"""Mesh, logical rules, and the one way to constrain an array.

Modules and operations name axes logically (`hyperx.axes`); only this file and gin know
the mesh axes: ``data`` and ``fsdp``, over which the rows of a batch lie, and ``model``.
Over ``fsdp`` lie parameters and the optimizer's state too. ``docs/sharding.md`` tells
what follows from that.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Names = tuple[str | None, ...]

# Logical axis -> mesh axes, t5x's standard rules among them. Within an array a name
# takes the mesh axes that no name above it has taken: what has groups of conditions
# keeps ``embed`` whole, a parameter does not.
RULES: dict[str, tuple[str, ...]] = {
    "task": ("data", "fsdp"),
    "embed": ("fsdp",),
    "embed_out": ("fsdp",),
    "heads": ("model",),
    "joined_kv": ("model",),
    "mlp": ("model",),
    "head_mlp": ("model",),
    "vocab": ("model",),
    "bottleneck": ("model",),
    "tasks": (),
    "rows": (),
    "length": (),
    "condition_length": (),
    "kv": (),
    "layers": (),
    "queries": (),
    "prefix": (),
    "rank": (),
    "relpos_buckets": (),
}

# What sets the size of a mesh axis.
_SET_BY = {
    "data": "devices / FSDP / MODEL_PARALLEL",
    "fsdp": "FSDP",
    "model": "MODEL_PARALLEL",
}


def make_mesh(
    data: int | None = None,
    fsdp: int = 1,
    model: int = 1,
    *,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """Mesh of shape ``[data, fsdp, model]``; its last axis has the nearest neighbours.

    Of several TPU slices every one holds a part of the data axis, so that only
    gradients cross the slower network between them.

    Args:
        data: size of the data axis; all devices that the others leave if None.
        fsdp: size of the axis over which rows, parameters and optimizer state lie.
        model: size of the axis over which heads, hidden units and words lie.
        devices: to use, perhaps of a topology that is not at hand; all by default.

    Raises:
        ValueError: if the sizes do not multiply to the number of devices, or a slice
            would not hold whole rows of the mesh.
    """
    devices = list(jax.devices() if devices is None else devices)
    data = len(devices) // (fsdp * model) if data is None else data
    if data * fsdp * model != len(devices):
        raise ValueError(
            f"expected data * fsdp * model == {len(devices)} devices, got "
            f"{data} * {fsdp} * {model}"
        )
    arranged = _arranged((data, fsdp, model), devices)
    return Mesh(arranged, tuple(_SET_BY), axis_types=(AxisType.Auto,) * 3)


def _arranged(shape: tuple[int, int, int], devices: Sequence[Any]) -> Any:
    """An array of devices of that shape, neighbours close in the network."""
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    # To JAX every node with GPUs is a slice; there, any axis may go over several.
    if slices == 1 or (shape[0] % slices and devices[0].platform == "gpu"):
        return mesh_utils.create_device_mesh(
            shape, devices, allow_split_physical_axes=True
        )
    if shape[0] % slices:
        raise ValueError(
            f"expected a data axis ({_SET_BY['data']}) that divides by {slices} slices "
            f"of devices, got {shape[0]}"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (shape[0] // slices, *shape[1:]),
        (slices, 1, 1),
        devices,
        allow_split_physical_axes=True,
    )


@contextlib.contextmanager
def use(mesh: Mesh) -> Iterator[Mesh]:
    """Makes `mesh` ambient: everything hyperx computes runs inside this context."""
    with jax.set_mesh(mesh):
        yield mesh


def compute_dtype() -> str:
    """The dtype to compute in here: bfloat16 on TPU and GPU, float32 on CPU."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def spec(names: Names) -> PartitionSpec:
    """Mesh axes of logical `names`, for an array whose sizes allow it.

    Raises:
        ValueError: for a name without a rule.
    """
    return PartitionSpec(*_mesh_axes(names))


def constrain(x: jax.Array, names: Names) -> jax.Array:
    """Fixes the sharding of `x` under the ambient mesh.

    An axis of size 1 is a broadcast and stays whole. XLA would silently replicate an
    axis that does not divide; here it is an error.

    Args:
        x: any array.
        names: one logical name, or None, per axis of `x`.

    Raises:
        RuntimeError: without an ambient mesh.
        ValueError: if ranks differ or an axis does not divide by its mesh axes.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        raise RuntimeError(
            "expected an ambient mesh, got none: compute inside "
            "`with sharding.use(sharding.make_mesh())`"
        )
    return jax.lax.with_sharding_constraint(x, _fitting(x.shape, names, mesh))


def declared(shapes: Any, names: Any, mesh: Mesh) -> Any:
    """What has no values yet, with where it shall lie.

    Args:
        shapes: tree of arrays or of `jax.ShapeDtypeStruct`.
        names: the same tree with a tuple of logical names per leaf.
        mesh: the mesh to shard over.

    Returns:
        The tree as `jax.ShapeDtypeStruct` with shardings, by the rules of `constrain`.

    Raises:
        ValueError: as `constrain`, and with the path of the leaf.
    """

    def place(path: Any, leaf: Any, own: Names) -> jax.ShapeDtypeStruct:
        where = f" of {jax.tree_util.keystr(path, simple=True, separator='/')}"
        sharding = NamedSharding(mesh, _fitting(leaf.shape, own, mesh, where))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, shapes, names)


def _mesh_axes(names: Names) -> list[tuple[str, ...]]:
    """The mesh axes of every name: those that no name above it in `RULES` has taken."""
    unknown = {*names} - RULES.keys() - {None}
    if unknown:
        raise ValueError(
            f"expected logical axes among {sorted(RULES)}, got {sorted(unknown)}"
        )
    free, taken = set(_SET_BY), {}
    for name in sorted({*names} - {None}, key=[*RULES].index):
        taken[name] = tuple(axis for axis in RULES[name] if axis in free)
        free -= {*taken[name]}
    return [taken.get(name, ()) for name in names]


def _fitting(
    shape: tuple[int, ...], names: Names, mesh: Any, where: str = ""
) -> PartitionSpec:
    """`spec` for an array of that shape; `where` tells which array, in errors."""
    if len(names) != len(shape):
        raise ValueError(
            f"expected {len(shape)} axis names for {shape}{where}, got {names}"
        )
    fitting = []
    for name, axes, size in zip(names, _mesh_axes(names), shape, strict=True):
        parts = math.prod(mesh.shape[axis] for axis in axes)
        if size > 1 and size % parts:
            raise ValueError(
                f"expected axis {name!r}{where} to divide by {parts}: "
                f"{_product(axes, mesh)}, got size {size}"
            )
        fitting.append(None if size == 1 else axes)
    return PartitionSpec(*fitting)


def _product(axes: Sequence[str], mesh: Any) -> str:
    """The sizes of `axes`, each with what sets it."""
    return " x ".join(f"{mesh.shape[a]} ({a} axis: {_SET_BY[a]})" for a in axes)


def tree_shardings(names: Any, mesh: Mesh) -> Any:
    """Shardings of a tree of logical names.

    Args:
        names: a tree whose leaves are tuples of logical names.
        mesh: the mesh to shard over.

    Returns:
        The same tree with a `NamedSharding` per leaf.
    """
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, spec(leaf)), names, is_leaf=_is_names
    )


def batch_shardings(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, NamedSharding]:
    """Shardings of a grouped batch: its first axis, the groups, is split."""
    sharding = NamedSharding(mesh, spec(("task",)))
    return dict.fromkeys(batch, sharding)


def group_parts(mesh: Mesh) -> int:
    """How many parts the groups of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in RULES["task"])


def check_groups(groups: int, mesh: Mesh, micro_batches: int = 1) -> None:
    """Checks that every device gets equally many groups of every micro-batch.

    Raises:
        ValueError: if not.
    """
    axes = RULES["task"]
    parts = group_parts(mesh) * micro_batches
    if groups % parts:
        raise ValueError(
            f"expected the conditions of a batch (BATCH_SIZE / ROWS) to divide by "
            f"{parts}: {_product(axes, mesh)} x {micro_batches} (MICRO_BATCHES), "
            f"got {groups}"
        )


def logical_axes(variables: Any) -> Any:
    """Logical names of boxed variables.

    Args:
        variables: a tree as returned by a module's ``init`` under `jax.eval_shape`,
            its leaves boxed by `flax.linen.with_logical_partitioning`.

    Returns:
        The same tree with a tuple of names per leaf.
    """
    return jax.tree.map(
        lambda box: tuple(box.names),
        variables,
        is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned),
    )


def _is_names(leaf: Any) -> bool:
    # Named tuples are nodes: an optimizer's state is full of them.
    return type(leaf) is tuple and all(n is None or isinstance(n, str) for n in leaf)
