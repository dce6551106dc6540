"""Consistency: two conditions of one task should generate the same weights.

After HART (Liang et al., submitted to ICLR 2024), which compares what is generated for
a task in consecutive steps. Here both conditions are in the batch, such as two sets of
examples, or two wordings of an instruction.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from hyperx.adaptation import LayerAdaptation
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.model import ModelConfig
from hyperx.objectives.objective import Forward, Objective, Teacher


@dataclasses.dataclass(frozen=True, kw_only=True)
class Consistency(Objective):
    """Mean squared difference of what a condition and another one generate."""

    name: ClassVar[str] = "consistency"
    features: ClassVar[tuple[str, ...]] = ("other_condition",)

    def check(self, config: ModelConfig, teacher: ModelConfig | None) -> None:
        """Checks that the model reads conditions."""
        if config.method.reads != "condition":
            raise ValueError(
                "expected a method that reads conditions, for its consistency, got one "
                f"that reads {config.method.reads!r}"
            )

    def total(self, forward: Forward, teacher: Teacher | None) -> jax.Array:
        """The difference of every group, once for each of its target tokens.

        Dropout is the same for both conditions.
        """
        other = forward.model.apply(
            {"params": forward.params},
            forward.batch["other_condition_tokens"],
            rngs=forward.rngs,
            method="condition",
        )
        difference = mean_squared_difference(forward.conditioning, other)
        tokens = jnp.sum(forward.batch["decoder_loss_weights"], axis=(1, 2))
        return jnp.sum(difference * tokens)


def mean_squared_difference(one: Conditioning, other: Conditioning) -> jax.Array:
    """Mean over all elements of the weights generated for a group, in float32.

    Args:
        one: of G conditions.
        other: of G conditions, from the same hypernetwork.

    Returns:
        ``[G]``, or ``[1]`` where all groups share everything.

    Raises:
        ValueError: if nothing is generated.
    """
    pairs = list(zip(*map(jax.tree.leaves, map(_generated, (one, other))), strict=True))
    if not pairs:
        raise ValueError("expected a method that generates weights, got none")
    groups = max(a.shape[1] for a, _ in pairs)
    total, count = jnp.zeros(groups), 0
    for a, b in pairs:
        square = jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32))
        axes = (0, *range(2, square.ndim))
        total += jnp.broadcast_to(jnp.sum(square, axis=axes), (groups,))
        count += square.size // square.shape[1]
    return total / count


def _generated(conditioning: Conditioning) -> Any:
    """All generated weights, leaves ``[L, G, ...]``; those of the prompt have L = 1."""
    prompt = conditioning.prompt
    return (
        _materialized(conditioning.encoder),
        _materialized(conditioning.decoder),
        None if prompt is None else prompt[None],
    )


def _materialized(emission: Emission) -> LayerAdaptation:
    """All weights of a stack; for the backward pass they are generated anew."""
    return emission.replace(emit=jax.checkpoint(emission.emit)).materialize()
