"""t5x's partitioner on today's JAX, with hyperx's mesh and rules."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hyperx import axes, sharding
from hyperx.t5x_plugin.library import partitioning


@dataclasses.dataclass(frozen=True)
class InMesh:
    """A compiled-on-demand function that runs, and is lowered, inside a mesh."""

    function: Any
    mesh: Mesh

    def __call__(self, *args: Any) -> Any:
        with sharding.use(self.mesh):
            return self.function(*args)

    def lower(self, *args: Any) -> Any:
        """As `jax.jit`'s."""
        with sharding.use(self.mesh):
            return self.function.lower(*args)


class MeshPartitioner(partitioning.PjitPartitioner):
    """`jax.jit` with shardings inside `jax.set_mesh`, where t5x has pjit.

    Rows lie over the mesh axes of hyperx's batches, parameters as hyperx's do, and
    moments of the optimizer where t5x lets them: factored ones on every device.

    Args:
        model_parallel: devices that share heads, hidden units and words.
        fsdp: devices that share rows, and what `model_parallel` leaves of parameters.
    """

    def __init__(self, model_parallel: int = 1, fsdp: int = 1) -> None:
        super().__init__(num_partitions=model_parallel)
        self._mesh = sharding.make_mesh(fsdp=fsdp, model=model_parallel)
        (self._data_axis,) = sharding.spec((axes.GROUPS,))

    @property
    def mesh(self) -> Mesh:
        """Of all devices."""
        return self._mesh

    def partition(
        self,
        fn: Callable[..., Any],
        in_axis_resources: Any,
        out_axis_resources: Any,
        static_argnums: int | Sequence[int] = (),
        donate_argnums: int | Sequence[int] = (),
    ) -> InMesh:
        """See t5x; None stands for an array, or a tree, on every device."""
        function = jax.jit(
            fn,
            in_shardings=self._shardings(in_axis_resources),
            out_shardings=self._shardings(out_axis_resources),
            static_argnums=static_argnums,
            donate_argnums=donate_argnums,
        )
        return InMesh(function, self.mesh)

    def get_mesh_axes(self, train_state: Any) -> Any:
        """The state with the mesh axes of every leaf, by hyperx's rules."""
        logical = self.get_logical_axes(train_state)
        flat = traverse_util.flatten_dict(logical.state_dict(), keep_empty_nodes=True)
        specs = {
            path: sharding.spec(tuple(names))
            if isinstance(names, PartitionSpec)
            else names
            for path, names in flat.items()
        }
        return logical.restore_state(traverse_util.unflatten_dict(specs))

    def _shardings(self, resources: Any) -> Any:
        return jax.tree.map(
            lambda leaf: NamedSharding(self.mesh, leaf or PartitionSpec()),
            resources,
            is_leaf=lambda leaf: leaf is None or isinstance(leaf, PartitionSpec),
        )
