"""t5x's Adafactor for hyperx's parameters, some of which may be frozen."""

import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import core

from hyperx.optim import freezing
from hyperx.t5x_plugin import factoring
from hyperx.t5x_plugin.library import adafactor

_SLOTS = ("v_row", "v_col", "v", "m")


class Adafactor(adafactor.Adafactor):
    """t5x's Adafactor without momentum; frozen parameters stay as they are.

    t5x would leave holes in the state where parameters are frozen
    (``optimizers.MultiOptimizer``), and cannot restore a state with holes. Here they
    have the fillers that Adafactor has for moments it does not need.

    Args:
        frozen: see `hyperx.optim.freezing.split`.
        decay_rate: as in t5x; the learning rate is the trainer's.
        step_offset: as in t5x.
    """

    def __init__(
        self,
        frozen: Sequence[str] = (),
        decay_rate: float = 0.8,
        step_offset: int = 0,
    ) -> None:
        super().__init__(
            decay_rate=decay_rate,
            step_offset=step_offset,
            logical_factor_rules=factoring.factor_rules(),
        )
        self.frozen = tuple(frozen)

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Adafactor)
            and self.frozen == other.frozen
            and super().__eq__(other)
        )

    def __hash__(self) -> int:
        return id(self)

    def set_param_axes(self, param_logical_axes: Any) -> None:
        """Learns the logical axes of all parameters, and checks `frozen` by them.

        Raises:
            ValueError: if an expression matches nothing, or nothing is left to train.
        """
        freezing.split(core.unfreeze(param_logical_axes), self.frozen)
        super().set_param_axes(param_logical_axes)

    def init_param_state(self, param: Any, path: str) -> Any:
        """The state of one parameter: its moments, or fillers."""
        state = super().init_param_state(param, path)
        if not self._is_frozen(path):
            return state
        return state.replace(**{slot: jnp.zeros((1,)) for slot in _SLOTS})

    def apply_param_gradient(
        self, step: Any, hyper_params: Any, param: Any, state: Any, grad: Any, path: str
    ) -> tuple[Any, Any]:
        """One parameter and its state after a step."""
        if self._is_frozen(path):
            return param, state
        return super().apply_param_gradient(
            step, hyper_params, param, state, grad, path
        )

    def _is_frozen(self, path: str) -> bool:
        return any(re.match(pattern, path) for pattern in self.frozen)
