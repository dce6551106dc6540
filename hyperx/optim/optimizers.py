"""The optimizers that a run chooses from."""

import dataclasses
from typing import Any, Protocol

import jax
import optax

from hyperx.optim.adafactor import Adafactor

__all__ = ["Adafactor", "AdamW", "Optimizer"]


class Optimizer(Protocol):
    """Makes the gradient transformation of a tree of parameters."""

    def build(self, axes: Any) -> optax.GradientTransformation:
        """The transformation of parameters whose logical axes are `axes`."""

    def state_axes(self, shapes: Any, axes: Any) -> Any:
        """Logical axes of the state for parameters of `shapes` and `axes`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Attributes:
        learning_rate: a number, or a function of the updates made so far.
        b1: decay of the first moments.
        b2: decay of the second moments.
        weight_decay: what an update takes off a parameter, relative to it.
        clip_norm: largest norm of all gradients together; None for no clipping.
    """

    learning_rate: optax.ScalarOrSchedule
    b1: float = 0.9
    b2: float = 0.999
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def build(self, axes: Any = None) -> optax.GradientTransformation:
        """The transformation; Adam treats all axes alike."""
        del axes
        adam = optax.adamw(
            self.learning_rate, self.b1, self.b2, weight_decay=self.weight_decay
        )
        if self.clip_norm is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam)

    def state_axes(self, shapes: Any, axes: Any) -> Any:
        """Logical axes of the state: moments lie where their parameters lie."""
        transformation = self.build(axes)
        return optax.tree_utils.tree_map_params(
            transformation,
            lambda _, names: names,
            jax.eval_shape(transformation.init, shapes),
            axes,
            transform_non_params=lambda _: (),
        )
