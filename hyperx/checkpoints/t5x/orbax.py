"""t5x's newer format: a directory of Orbax whose item ``state`` is the train state."""

from collections.abc import Mapping

import jax
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint import v1 as ocp

from hyperx.checkpoints import quiet

ITEM = "state"
_TARGET = "target/"

quiet.drop_messages()


class Orbax:
    """The parameters of a checkpoint of t5x that Orbax wrote.

    Attributes:
        directory: of the checkpoint.
        shapes: of all parameters, by their names joined by ``/``.
    """

    def __init__(self, directory: epath.Path) -> None:
        """Reads what Orbax keeps about the arrays.

        Raises:
            ValueError: if that cannot be read or holds no parameters.
        """
        # `resolve` takes the address of an object store for a relative path.
        self.directory = directory if directory.is_absolute() else directory.resolve()
        with quiet.failure() as failure:
            state = ocp.checkpointables_metadata(self.directory).metadata[ITEM]
            self._leaves = flatten_dict(state, keep_empty_nodes=True, sep="/")
        if failure:
            raise ValueError(
                f"expected item {ITEM!r} of an Orbax checkpoint in {directory}, got: "
                f"{failure[0]}"
            )
        self.shapes = {
            name.removeprefix(_TARGET): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for name, leaf in self._leaves.items()
            if name.startswith(_TARGET) and hasattr(leaf, "shape")
        }
        if not self.shapes:
            raise ValueError(
                f"expected parameters under {ITEM}/{_TARGET} in {directory}, got "
                f"{list(self._leaves)[:5]}"
            )

    def load(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        """Reads arrays to where they shall lie.

        Args:
            wanted: dtypes and shardings by name.

        Raises:
            ValueError: if an array is damaged.
        """
        there = {_TARGET + name: leaf for name, leaf in wanted.items()}
        tree = {name: there.get(name, ...) for name in self._leaves}
        with quiet.failure() as failure:
            loaded = ocp.load_checkpointables(
                self.directory, {ITEM: unflatten_dict(tree, sep="/")}
            )[ITEM]
        if failure:
            expected = [f"{k}: {v.dtype}{list(v.shape)}" for k, v in wanted.items()]
            raise ValueError(
                f"expected {expected[:3]} ({len(expected)}) in {self.directory}, got "
                f"damaged arrays: {failure[0]}"
            )
        flat = flatten_dict(loaded, sep="/")
        return {name: flat[_TARGET + name] for name in wanted}
