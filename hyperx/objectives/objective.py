"""What every objective says of itself, and the loss of all of them together."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
from flax import struct

from hyperx import model as model_lib
from hyperx.hypernetworks.conditioning import Conditioning


@struct.dataclass
class Teacher:
    """A trained model that an objective learns from; never differentiated.

    Attributes:
        params: its parameters.
        config: of the model.
    """

    params: Any
    config: model_lib.ModelConfig = struct.field(pytree_node=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forward:
    """A forward pass of the model in training.

    Attributes:
        model: the module.
        params: its parameters.
        batch: what it read, as for `loss`.
        rngs: of dropout; empty without it.
        logits: ``[G, R, T, V]``.
        conditioning: under which they were computed.
    """

    model: model_lib.HyperModel
    params: Any
    batch: model_lib.Batch
    rngs: Mapping[str, jax.Array]
    logits: jax.Array
    conditioning: Conditioning


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """A term of the loss.

    Attributes:
        name: of its metric.
        features: of the data that it needs besides those that the method reads.
        teacher: a model directory to learn from, or None.
        weight: its factor in the loss.
    """

    name: ClassVar[str]
    features: ClassVar[tuple[str, ...]] = ()
    teacher: ClassVar[str | None] = None

    weight: float = 1.0

    def check(
        self, config: model_lib.ModelConfig, teacher: model_lib.ModelConfig | None
    ) -> None:
        """Raises a ValueError if a model, or the teacher's, does not suit it."""

    def total(self, forward: Forward, teacher: Teacher | None) -> jax.Array:
        """A sum over the target tokens of a batch, without the weight.

        Sums, as those of `hyperx.model.token_loss`, so that micro-batches add up to
        exactly their batch.
        """
        raise NotImplementedError


def check_names(objectives: Sequence[Objective]) -> None:
    """Checks that metrics of different objectives have different names.

    Raises:
        ValueError: if not.
    """
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"expected objectives of different kinds, got {names}")


def loss(
    model: model_lib.HyperModel,
    params: Any,
    batch: model_lib.Batch,
    dropout_key: jax.Array | None,
    *,
    z_loss: float = 0.0,
    objectives: Sequence[Objective] = (),
    teachers: Sequence[Teacher | None] = (),
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Summed token loss of a grouped batch, and the objectives' sums with weights.

    Args:
        model: the module.
        params: its parameters.
        batch: as for `HyperModel.__call__`, and ``decoder_target_tokens`` and
            ``decoder_loss_weights``, both ``[G, R, T]``, and the tokens of the features
            that `objectives` name.
        dropout_key: turns dropout on; None turns it off.
        z_loss: see `hyperx.ops.losses.cross_entropy`.
        objectives: what is added.
        teachers: one for every objective, None where it has none.

    Returns:
        The loss, and the sums of `hyperx.model.token_loss` and of every objective, by
        name and without its weight.
    """
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    logits, conditioning = model.apply(
        {"params": params}, batch, rngs=rngs, method="conditioned"
    )
    total, sums = model_lib.token_loss(logits, batch, z_loss=z_loss)
    forward = Forward(
        model=model,
        params=params,
        batch=batch,
        rngs=rngs,
        logits=logits,
        conditioning=conditioning,
    )
    for objective, teacher in zip(objectives, teachers, strict=True):
        sums[objective.name] = objective.total(forward, teacher)
        total = total + objective.weight * sums[objective.name]
    return total, sums
