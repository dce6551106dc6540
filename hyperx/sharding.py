"""Mesh, logical rules, and the one way to constrain an array.

Modules and operations name axes logically (`hyperx.axes`); only this file and gin know
the mesh axes ``data`` and ``model``.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Names = tuple[str | None, ...]

# t5x's standard rules for parameters split over the model axis only, and ours.
RULES: tuple[tuple[str, str | None], ...] = (
    ("task", "data"),
    ("tasks", None),
    ("rows", None),
    ("length", None),
    ("condition_length", None),
    ("embed", None),
    ("embed_out", None),
    ("heads", "model"),
    ("kv", None),
    ("joined_kv", "model"),
    ("mlp", "model"),
    ("head_mlp", "model"),
    ("vocab", "model"),
    ("layers", None),
    ("queries", None),
    ("bottleneck", "model"),
    ("prefix", None),
    ("rank", None),
    ("relpos_buckets", None),
)


def make_mesh(
    data: int | None = None, model: int = 1, *, devices: Sequence[Any] | None = None
) -> Mesh:
    """Mesh of shape ``[data, model]``.

    Args:
        data: size of the data axis; all devices left over by `model` if None.
        model: size of the model axis.
        devices: the devices to use; all by default.

    Raises:
        ValueError: if the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    data = len(devices) // model if data is None else data
    if data * model != len(devices):
        raise ValueError(
            f"expected data * model == {len(devices)} devices, got {data} * {model}"
        )
    return jax.make_mesh(
        (data, model), ("data", "model"), (AxisType.Auto,) * 2, devices=devices
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
    """Mesh axes of logical `names`.

    Raises:
        ValueError: for a name without a rule.
    """
    rules = dict(RULES)
    for name in names:
        if name is not None and name not in rules:
            raise ValueError(
                f"expected a logical axis among {sorted(rules)}, got {name!r}"
            )
    return PartitionSpec(*(rules[name] if name else None for name in names))


def constrain(x: jax.Array, names: Names) -> jax.Array:
    """Fixes the sharding of `x` under the ambient mesh.

    An axis of size 1 is a broadcast and stays whole. XLA would silently replicate an
    axis that does not divide; here it is an error.

    Args:
        x: any array.
        names: one logical name, or None, per axis of `x`.

    Raises:
        RuntimeError: without an ambient mesh.
        ValueError: if ranks differ or an axis does not divide by its mesh axis.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        raise RuntimeError(
            "expected an ambient mesh, got none: compute inside "
            "`with sharding.use(sharding.make_mesh())`"
        )
    if len(names) != x.ndim:
        raise ValueError(f"expected {x.ndim} axis names for {x.shape}, got {names}")
    names = tuple(
        None if size == 1 else name for name, size in zip(names, x.shape, strict=True)
    )
    partition = spec(names)
    for name, axis, size in zip(names, partition, x.shape, strict=True):
        if axis is not None and size % mesh.shape[axis]:
            raise ValueError(
                f"expected axis {name!r} to divide by {mesh.shape[axis]} ({axis} axis "
                f"of the mesh), got size {size}"
            )
    return jax.lax.with_sharding_constraint(x, partition)


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
    """Shardings of a grouped batch: the groups, its first axis, lie on ``data``."""
    sharding = NamedSharding(mesh, spec(("task",)))
    return dict.fromkeys(batch, sharding)


def check_groups(groups: int, mesh: Mesh, micro_batches: int = 1) -> None:
    """Checks that every device gets equally many groups of every micro-batch.

    Raises:
        ValueError: if not.
    """
    parts = mesh.shape["data"] * micro_batches
    if groups % parts:
        raise ValueError(
            f"expected the conditions of a batch (BATCH_SIZE / ROWS) to divide by "
            f"{parts}: {mesh.shape['data']} (data axis of the mesh) x {micro_batches} "
            f"(MICRO_BATCHES), got {groups}"
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
