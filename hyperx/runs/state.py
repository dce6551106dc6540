"""The train state: what a step updates and a checkpoint holds, and where it lies."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from hyperx import model, sharding
from hyperx.checkpoints.store import Store
from hyperx.optim import freezing
from hyperx.optim import rate_factors as rate_factors_lib
from hyperx.optim.optimizers import Optimizer

# What an initial checkpoint need not have.
_NEW = "hypernetwork/"


@struct.dataclass
class TrainState:
    """Everything that changes from step to step.

    Attributes:
        step: steps taken, an integer scalar.
        params: all parameters, trained and frozen.
        opt_state: of the trained parameters alone.
    """

    step: jax.Array
    params: Any
    opt_state: Any


class Recipe:
    """What initialises, shards and updates a train state.

    Attributes:
        config: of the model.
        frozen: regular expressions of parameter paths that do not train.
        rate_factors: see `hyperx.optim.rate_factors.of`.
        parameters: shapes and logical axes of all parameters.
        transformation: the optimizer of the trained ones.
    """

    def __init__(
        self,
        config: model.ModelConfig,
        optimizer: Optimizer,
        frozen: Sequence[str] = (),
        rate_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.config = config
        self.frozen = tuple(frozen)
        self.rate_factors = dict(rate_factors or {})
        self.parameters = model.abstract_parameters(config)
        self._trained = freezing.split(self.parameters.shapes, self.frozen)[0]
        self._axes = freezing.split(self.parameters.axes, self.frozen)[0]
        self._optimizer = optimizer
        self.transformation = optimizer.build(self._axes)
        if self.rate_factors:
            factors = rate_factors_lib.of(self.parameters.shapes, self.rate_factors)
            self.transformation = rate_factors_lib.scaled(
                self.transformation, freezing.split(factors, self.frozen)[0]
            )

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state; call inside `jax.jit`."""
        params = model.init(self.config, key)
        trained, _ = freezing.split(params, self.frozen)
        opt_state = self.transformation.init(trained)
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state)

    def abstract(self, mesh: Mesh) -> TrainState:
        """Shapes, dtypes and shardings of the state, without allocating it.

        Raises:
            ValueError: for an array that does not divide by the axes of `mesh`.
        """
        key = jax.eval_shape(lambda: jax.random.key(0))
        with sharding.use(mesh):
            shapes = jax.eval_shape(self.init, key)
        opt_axes = self._optimizer.state_axes(self._trained, self._axes)
        axes = TrainState((), self.parameters.axes, opt_axes)
        return sharding.declared(shapes, axes, mesh)


def initial(recipe: Recipe, abstract: TrainState, mesh: Mesh, seed: int) -> TrainState:
    """A fresh state, every leaf made where it belongs."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    with sharding.use(mesh):
        return jax.jit(recipe.init, out_shardings=shardings)(jax.random.key(seed))


def load_initial(
    params: Any,
    directory: str | os.PathLike[str],
    copies: Mapping[str, str] | None = None,
) -> tuple[Any, dict[str, set[str]]]:
    """Reads parameters into the place of freshly initialised ones.

    Each goes straight to the devices where it belongs, and what it replaces is given up
    before: no process holds more of the model than its devices do.

    Args:
        params: freshly initialised parameters; those that are replaced are deleted.
        directory: of the checkpoints whose newest is read.
        copies: see `hyperx.methods.method.Method.copies`.

    Returns:
        The parameters, and the paths of leaves that were ``loaded``, ``copied`` and are
        ``new``.

    Raises:
        FileNotFoundError: without a checkpoint.
        ValueError: if it is damaged, or as `sources`.
    """
    checkpoint = Store(directory).checkpoint()
    stored = flatten_dict(checkpoint.shapes["params"], sep="/")
    own = flatten_dict(params, sep="/")
    origins = sources(own, stored, copies)
    targets = {path: own[path] for path in origins}
    wanted = {
        path: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=targets[path].sharding
        )
        for path, leaf in stored.items()
    }
    for leaf in targets.values():
        leaf.delete()
    loaded = checkpoint.restore_params(unflatten_dict(wanted, sep="/"))
    loaded = flatten_dict(loaded, sep="/")
    for path, origin in origins.items():
        same = path == origin and loaded[origin].dtype == own[path].dtype
        own[path] = loaded[origin] if same else _copy(loaded[origin], targets[path])
    paths = {
        "loaded": loaded.keys() & origins.keys(),
        "copied": origins.keys() - loaded.keys(),
        "new": own.keys() - origins.keys(),
    }
    return unflatten_dict(own, sep="/"), paths


def sources(
    own: Mapping[str, Any],
    stored: Mapping[str, Any],
    copies: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Which parameters of an initial checkpoint a model takes, and where to.

    Nothing stays at its initial value silently: a leaf is loaded, or lies under
    ``hypernetwork`` and is a copy or new, or is an error.

    Args:
        own: what has the shapes of the model's parameters, by path joined by ``/``.
        stored: the same of the checkpoint's.
        copies: see `hyperx.methods.method.Method.copies`.

    Returns:
        By path in the model the path in the checkpoint; new parameters have none.

    Raises:
        ValueError: for leaves that are missing, left over, or of another shape.
    """
    origins = {path: path for path in own if path in stored} | {
        path: origin
        for prefix, start in (copies or {}).items()
        for path in own
        if path.startswith(prefix) and path not in stored
        if (origin := start + path.removeprefix(prefix)) in stored
    }
    missing = [
        path for path in own if path not in origins and not path.startswith(_NEW)
    ]
    left = [path for path in stored if path not in own]
    wrong = [
        f"{path}: expected {own[path].shape}, got {tuple(stored[origin].shape)}"
        for path, origin in origins.items()
        if own[path].shape != tuple(stored[origin].shape)
    ]
    if missing or left or wrong:
        raise ValueError(
            "the initial checkpoint does not fit this model: "
            f"missing {missing[:5]} ({len(missing)}), not expected {left[:5]} "
            f"({len(left)}), of another shape {wrong[:5]} ({len(wrong)})"
        )
    return origins


def _copy(leaf: jax.Array, like: jax.Array) -> jax.Array:
    """An array of its own, of the dtype and in the place of `like`."""
    copied = functools.partial(jnp.array, dtype=like.dtype, copy=True)
    return jax.jit(copied, out_shardings=like.sharding)(leaf)
