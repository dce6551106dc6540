"""Application of generated changes to a linear map: low-rank updates and factors."""

import jax
import jax.numpy as jnp

from hyperx.adaptation import LowRank, Scale


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x` ``[..., input width]`` times a kernel ``[input width, output width]``.

    As a product of two matrices, with one sum in the kernel's gradient: XLA for CPUs
    would rearrange the operand of a sum over several axes in memory.
    """
    matrix = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel)
    return matrix.reshape(*x.shape[:-1], kernel.shape[-1])


def updated(out: jax.Array, low_rank: LowRank | None, x: jax.Array) -> jax.Array:
    """The output of a projection whose kernel has received a low-rank update.

    The kernel ``W + scale * a^T b`` is never formed.

    Args:
        out: ``x W``, ``[G, ..., output width]``.
        low_rank: of each group, or of one for all; None for no update.
        x: what the projection reads, ``[G, ..., input width]``.
    """
    if low_rank is None:
        return out
    units = jnp.einsum("G...i,GNi->G...N", x, low_rank.a.astype(x.dtype))
    added = jnp.einsum("G...N,GNo->G...o", units, low_rank.b.astype(x.dtype))
    return out + low_rank.scale * added


def scaled(x: jax.Array, scale: Scale | None) -> jax.Array:
    """`x` ``[G, ..., width]`` times the factors of its group, if there are any."""
    if scale is None:
        return x
    factor = scale.factor.astype(x.dtype)
    return x * jax.lax.expand_dims(factor, range(1, x.ndim - 1))
