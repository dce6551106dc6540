"""Learning rates as functions of the updates made so far."""

import jax.numpy as jnp
import optax


def constant(*, value: float) -> optax.Schedule:
    """Always `value`."""
    return optax.constant_schedule(value)


def rsqrt(*, factor: float = 1.0, warmup_steps: int = 10_000) -> optax.Schedule:
    """``factor / sqrt(max(step, warmup_steps))``, with which T5 was pretrained."""
    if warmup_steps < 1:
        raise ValueError(f"expected warmup_steps of at least 1, got {warmup_steps}")
    return lambda step: factor / jnp.sqrt(jnp.maximum(step, warmup_steps))


def cosine(
    *, peak: float, total_steps: int, warmup: float = 0.1, floor: float = 0.0
) -> optax.Schedule:
    """Up in a line from 0 to `peak`, then down half a cosine to `floor`.

    Args:
        peak: the highest rate.
        total_steps: where `floor` is reached; the rate stays there.
        warmup: share of `total_steps` after which `peak` is reached.
        floor: the last rate.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"expected a warmup share in [0, 1), got {warmup}")
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, round(warmup * total_steps), total_steps, floor
    )
