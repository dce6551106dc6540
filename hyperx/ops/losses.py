"""Token losses and sequence scores."""

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, targets: jax.Array, *, z_loss: float = 0.0
) -> jax.Array:
    """Cross entropy of every token, in float32.

    Args:
        logits: ``[G, R, T, V]``.
        targets: ``[G, R, T]`` integers.
        z_loss: weight of the squared log-partition, which keeps it near zero.

    Returns:
        ``[G, R, T]``, in nats.
    """
    logits = logits.astype(jnp.float32)
    partition = jax.nn.logsumexp(logits, axis=-1)
    target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return partition - target + z_loss * jnp.square(partition)


def predicted(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Whether every target has the largest logit, the first of equal ones.

    The same as comparing with `jax.numpy.argmax`, whose reduction of pairs neither is
    vectorised on CPUs nor stays one reduction where words lie on several devices.

    Args:
        logits: ``[G, R, T, V]``.
        targets: ``[G, R, T]`` integers.

    Returns:
        ``[G, R, T]`` booleans.
    """
    target = jnp.take_along_axis(logits, targets[..., None], axis=-1)
    words = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    behind = words >= targets[..., None]
    return jnp.all((logits < target) | (behind & (logits == target)), axis=-1)


def kl_divergence(
    teacher: jax.Array, student: jax.Array, *, temperature: float = 1.0
) -> jax.Array:
    """Divergence of a student's distributions from a teacher's, in float32.

    Args:
        teacher: logits ``[G, R, T, V]``.
        student: logits ``[G, R, T, V]``.
        temperature: divides both; the divergence is multiplied by its square, so that
            gradients keep their size (Hinton et al. 2015).

    Returns:
        KL(teacher || student) ``[G, R, T]``, in nats.
    """
    teacher, student = (
        jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
        for logits in (teacher, student)
    )
    divergence = jnp.sum(jnp.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * divergence


def sequence_log_probability(
    logits: jax.Array, targets: jax.Array, weights: jax.Array
) -> jax.Array:
    """Summed log-probability of the weighted tokens of each row.

    Args:
        logits: ``[G, R, T, V]``.
        targets: ``[G, R, T]`` integers.
        weights: ``[G, R, T]``, 1 for tokens that count.

    Returns:
        ``[G, R]``, in nats.
    """
    return -jnp.sum(cross_entropy(logits, targets) * weights, axis=-1)
