"""The train state: what a step updates and a checkpoint holds, and where it lies."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding

from hyperx import model, sharding
from hyperx.optim import freezing
from hyperx.optim import rate_factors as rate_factors_lib
from hyperx.optim.optimizers import Optimizer


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
        """Shapes, dtypes and shardings of the state, without allocating it."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        with sharding.use(mesh):
            shapes = jax.eval_shape(self.init, key)
        opt_axes = self._optimizer.state_axes(self._trained, self._axes)
        shardings = TrainState(
            NamedSharding(mesh, sharding.spec(())),
            sharding.tree_shardings(self.parameters.axes, mesh),
            sharding.tree_shardings(opt_axes, mesh),
        )
        return jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(
                shape.shape, shape.dtype, sharding=where
            ),
            shapes,
            shardings,
        )


def initial(recipe: Recipe, abstract: TrainState, mesh: Mesh, seed: int) -> TrainState:
    """A fresh state, every leaf made where it belongs."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    with sharding.use(mesh):
        return jax.jit(recipe.init, out_shardings=shardings)(jax.random.key(seed))


def load_initial(
    params: Any, loaded: Mapping[str, Any], copies: Mapping[str, str] | None = None
) -> tuple[Any, dict[str, int]]:
    """Puts loaded parameters in the place of freshly initialised ones.

    Nothing stays at its initial value silently: a leaf is loaded, or lies under
    ``hypernetwork`` and is a copy or new, or is an error.

    Args:
        params: freshly initialised parameters.
        loaded: parameters of a checkpoint, a nested dict of arrays.
        copies: see `hyperx.methods.method.Method.copies`.

    Returns:
        The parameters, and how many leaves were ``loaded``, ``copied`` and ``new``.

    Raises:
        ValueError: for leaves that are missing, left over, or of another shape.
    """
    own, other = flatten_dict(params, sep="/"), flatten_dict(loaded, sep="/")
    copied = {
        path: source
        for prefix, start in (copies or {}).items()
        for path in own
        if path.startswith(prefix) and path not in other
        if (source := start + path.removeprefix(prefix)) in other
    }
    other |= {path: other[source] for path, source in copied.items()}
    missing = [p for p in own if p not in other and not p.startswith("hypernetwork/")]
    left = [path for path in other if path not in own]
    wrong = [
        f"{path}: expected {own[path].shape}, got {tuple(other[path].shape)}"
        for path in own.keys() & other.keys()
        if own[path].shape != tuple(other[path].shape)
    ]
    if missing or left or wrong:
        raise ValueError(
            "the initial checkpoint does not fit this model: "
            f"missing {missing[:5]} ({len(missing)}), not expected {left[:5]} "
            f"({len(left)}), of another shape {wrong[:5]} ({len(wrong)})"
        )
    merged = {
        path: jax.device_put(np.asarray(other[path], leaf.dtype), leaf.sharding)
        if path in other
        else leaf
        for path, leaf in own.items()
    }
    counts = {
        "loaded": len(other) - len(copied),
        "copied": len(copied),
        "new": len(own) - len(other),
    }
    return unflatten_dict(merged, sep="/"), counts
