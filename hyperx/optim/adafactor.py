"""Adafactor (Shazeer & Stern 2018) for stacked layers.

`optax.adafactor` factors over the two largest axes of a leaf and takes root mean
squares over all of it, which for stacked layers mixes layers. Here, as in t5x, a
leading ``layers`` axis is a batch of parameters, each updated as if it were alone.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hyperx import axes as legend

_SQUARE_EPSILON = 1e-30
_SMALLEST_SCALE = 1e-3

Names = tuple[str | None, ...]
Moments = dict[str, Any]


class AdafactorState(NamedTuple):
    """State of `Adafactor`.

    Attributes:
        count: updates made, a scalar.
        moments: per parameter its second moments, either factored as ``v_row [..., n]``
            and ``v_col [..., m]`` for a parameter ``[..., n, m]``, or whole as ``v``.
    """

    count: jax.Array
    moments: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Adafactor without momentum; equals t5x's, and per layer optax's.

    Attributes:
        learning_rate: a number, or a function of the updates made so far.
        decay_rate: second moments decay by ``1 - t ** -decay_rate`` at update ``t``.
        decay_offset: updates before ``t`` starts to count, 0 for all of them.
        clipping_threshold: largest root mean square of an update before it is scaled;
            None for no clipping.
        multiply_by_parameter_scale: whether an update is relative to the root mean
            square of its parameter.
        min_dim_size_to_factor: second moments are factored if both axes have this size.
    """

    learning_rate: optax.ScalarOrSchedule
    decay_rate: float = 0.8
    decay_offset: int = 0
    clipping_threshold: float | None = 1.0
    multiply_by_parameter_scale: bool = True
    min_dim_size_to_factor: int = 128

    def build(self, axes: Any) -> optax.GradientTransformation:
        """The transformation of parameters whose logical axes are `axes`.

        Args:
            axes: the tree of parameters with a tuple of axis names per leaf.
        """

        def init(params: Any) -> AdafactorState:
            moments = []
            for leaf, names in _zip(params, axes):
                shapes = self._moments(leaf.shape, leaf.shape, names)
                moments.append(
                    {name: jnp.zeros(s, leaf.dtype) for name, s in shapes.items()}
                )
            moments = jax.tree.unflatten(jax.tree.structure(params), moments)
            return AdafactorState(jnp.zeros((), jnp.int32), moments)

        def update(
            grads: Any, state: AdafactorState, params: Any
        ) -> tuple[Any, AdafactorState]:
            count, structure = state.count, jax.tree.structure(grads)
            pairs = []
            for grad, moments, leaf, names in _zip(grads, state.moments, params, axes):
                update_one = self._update
                if _stacked(names):
                    update_one = jax.vmap(update_one, in_axes=(0, 0, 0, None))
                pairs.append(update_one(grad, moments, leaf, count))
            updates, moments = (
                jax.tree.unflatten(structure, leaves)
                for leaves in zip(*pairs, strict=True)
            )
            return updates, AdafactorState(optax.safe_increment(count), moments)

        return optax.GradientTransformation(init, update)

    def state_axes(self, shapes: Any, axes: Any) -> AdafactorState:
        """Logical axes of the state, by construction.

        Args:
            shapes: the tree of parameters, or of anything with their shapes.
            axes: the same tree with a tuple of axis names per leaf.

        Returns:
            The state of `build` with a tuple of axis names per leaf.
        """
        moments = [
            self._moments(leaf.shape, names, names)
            for leaf, names in _zip(shapes, axes)
        ]
        structure = jax.tree.structure(shapes)
        return AdafactorState((), jax.tree.unflatten(structure, moments))

    def _moments(self, shape: tuple[int, ...], whole: tuple, names: Names) -> Moments:
        """What `whole`, shape or axis names, becomes for each moment of a parameter."""
        one_layer = shape[_stacked(names) :]
        if len(shape) != len(names) or len(one_layer) > 2:
            raise ValueError(
                "expected parameters with one axis name per axis, and at most two axes "
                f"besides {legend.LAYERS!r}, got {shape} with {names}"
            )
        if len(one_layer) == 2 and min(one_layer) >= self.min_dim_size_to_factor:
            return {"v_row": whole[:-1], "v_col": (*whole[:-2], whole[-1])}
        return {"v": whole}

    def _update(
        self, grad: jax.Array, moments: Moments, param: jax.Array, count: jax.Array
    ) -> tuple[jax.Array, Moments]:
        """The update of one layer's parameter, and its new moments."""
        t = jnp.maximum(count - self.decay_offset, 0) + 1
        decay = 1.0 - t.astype(jnp.float32) ** -self.decay_rate
        square = jnp.square(grad) + _SQUARE_EPSILON

        def averaged(name: str, now: jax.Array) -> jax.Array:
            return (decay * moments[name] + (1.0 - decay) * now).astype(param.dtype)

        if "v" in moments:
            moments = {"v": averaged("v", square)}
            update = grad * moments["v"] ** -0.5
        else:
            row = averaged("v_row", jnp.mean(square, axis=-1))
            col = averaged("v_col", jnp.mean(square, axis=-2))
            moments = {"v_row": row, "v_col": col}
            update = grad * (row / jnp.mean(row))[:, None] ** -0.5 * col[None] ** -0.5
        if self.clipping_threshold is not None:
            update = update / jnp.maximum(1.0, _rms(update) / self.clipping_threshold)
        rate = self.learning_rate
        update = update * -(rate(count) if callable(rate) else rate)
        if self.multiply_by_parameter_scale:
            update = update * jnp.maximum(_rms(param), _SMALLEST_SCALE)
        return update, moments


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def _stacked(names: Names) -> bool:
    return names[:1] == (legend.LAYERS,)


def _zip(tree: Any, *rest: Any) -> zip:
    """Leaves of `tree`, each with what the other trees hold in its place."""
    structure = jax.tree.structure(tree)
    return zip(*map(structure.flatten_up_to, (tree, *rest)), strict=True)
