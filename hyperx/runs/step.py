"""One training step: gradients of what trains, accumulated, applied."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hyperx import model
from hyperx.objectives import objective
from hyperx.optim import freezing
from hyperx.runs.state import Recipe, TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]
Teachers = Sequence[objective.Teacher | None]


def make_step(
    recipe: Recipe,
    *,
    micro_batches: int = 1,
    z_loss: float = 0.0,
    objectives: Sequence[objective.Objective] = (),
) -> Step:
    """The step function, not compiled yet: see `compiled`.

    Args:
        recipe: model, optimizer, and what is frozen.
        micro_batches: parts into which the groups of a batch are split; gradients add
            up to exactly those of the whole batch.
        z_loss: see `hyperx.ops.losses.cross_entropy`.
        objectives: what is added to the token loss.

    Returns:
        ``step(state, batch, key, teachers=()) -> (state, metrics)``; `key` is the
        run's, the step number is folded into it. There is a teacher for every
        objective, None where it has none.
    """
    module, transformation = recipe.config.build(), recipe.transformation

    def gradients(
        trained: Any,
        frozen: Any,
        teachers: Teachers,
        batch: model.Batch,
        key: jax.Array,
    ) -> Any:
        def total(trained: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            return objective.loss(
                module,
                freezing.merge(trained, frozen),
                batch,
                key,  # Dropout of rate 0 does not use it.
                z_loss=z_loss,
                objectives=objectives,
                teachers=teachers,
            )

        (loss, sums), grads = jax.value_and_grad(total, has_aux=True)(trained)
        return grads, sums | {"loss": loss}

    def step(
        state: TrainState,
        batch: model.Batch,
        key: jax.Array,
        teachers: Teachers = (),
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        trained, frozen = freezing.split(state.params, recipe.frozen)
        key = jax.random.fold_in(key, state.step)
        if micro_batches == 1:
            grads, sums = gradients(trained, frozen, teachers, batch, key)
        else:
            grads, sums = _accumulated(
                functools.partial(gradients, trained, frozen, teachers),
                _split(batch, micro_batches),
                jax.random.split(key, micro_batches),
            )
        tokens = jnp.maximum(sums["tokens"], 1.0)
        grads = jax.tree.map(lambda grad: grad / tokens, grads)
        updates, opt_state = transformation.update(grads, state.opt_state, trained)
        trained = optax.apply_updates(trained, updates)
        metrics = {
            "loss": sums["loss"] / tokens,
            "cross_entropy": sums["cross_entropy"] / tokens,
            "accuracy": sums["correct"] / tokens,
            "gradient_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            "tokens": sums["tokens"],
        }
        for term in objectives:
            metrics[term.name] = sums[term.name] / tokens
        params = freezing.merge(trained, frozen)
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def compiled(step: Step, state: TrainState) -> Step:
    """`step` to be compiled; it takes the state's buffers and returns it where it was.

    Args:
        step: see `make_step`.
        state: arrays, or shapes with their shardings.
    """
    where = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jax.jit(step, donate_argnums=0, out_shardings=(where, None))


def _split(batch: model.Batch, parts: int) -> dict[str, jax.Array]:
    """``[G, ...]`` to ``[parts, G / parts, ...]``, each part over all devices."""
    groups = next(iter(batch.values())).shape[0]
    if groups % parts:
        raise ValueError(
            f"expected micro_batches to divide the {groups} groups of a batch, "
            f"got {parts}"
        )
    return {
        name: array.reshape(groups // parts, parts, *array.shape[1:]).swapaxes(0, 1)
        for name, array in batch.items()
    }


def _accumulated(
    gradients: Callable[[model.Batch, jax.Array], Any],
    batches: dict[str, jax.Array],
    keys: jax.Array,
) -> Any:
    """Sums of gradients and metrics over micro-batches, one at a time in memory."""

    def add(total: Any, part: tuple[model.Batch, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients(*part)), None

    first = jax.tree.map(lambda array: array[0], (batches, keys))
    zero = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(gradients, *first),
    )
    return jax.lax.scan(add, zero, (batches, keys))[0]
