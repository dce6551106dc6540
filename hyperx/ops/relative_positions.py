"""T5's relative position bias (Raffel et al. 2020, section 2.1)."""

import jax
import jax.numpy as jnp
import numpy as np


def buckets(
    offsets: jax.Array, *, bidirectional: bool, num_buckets: int, max_distance: int
) -> jax.Array:
    """Buckets of key position minus query position: exact near, logarithmic far.

    Args:
        offsets: integers of any shape.
        bidirectional: half of the buckets serve keys to the right; else such keys
            share bucket 0.
        num_buckets: buckets in all.
        max_distance: distance from which all offsets share the last bucket.

    Returns:
        Integers of the shape of `offsets`, in ``[0, num_buckets)``.
    """
    if bidirectional:
        num_buckets //= 2
        side = (offsets > 0).astype(jnp.int32) * num_buckets
        distance = jnp.abs(offsets)
    else:
        side = jnp.zeros_like(offsets)
        distance = jnp.maximum(-offsets, 0)
    exact = num_buckets // 2
    # The tiny constant keeps exact powers in the bucket that reference T5s give them.
    ratio = distance.astype(jnp.float32) / exact + np.finfo(np.float32).eps
    scale = (num_buckets - exact) / np.log(max_distance / exact)
    far = exact + (jnp.log(ratio) * scale).astype(jnp.int32)
    far = jnp.minimum(far, num_buckets - 1)
    return side + jnp.where(distance < exact, distance, far)


def bias(
    table: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
    *,
    bidirectional: bool,
    max_distance: int,
) -> jax.Array:
    """Bias to add to attention scores.

    Args:
        table: ``[H, buckets]``.
        query_positions: ``[T]``.
        key_positions: ``[S]``.
        bidirectional: as in `buckets`.
        max_distance: as in `buckets`.

    Returns:
        ``[1, 1, H, T, S]``.
    """
    index = buckets(
        key_positions[None, :] - query_positions[:, None],
        bidirectional=bidirectional,
        num_buckets=table.shape[1],
        max_distance=max_distance,
    )
    return jnp.take(table, index, axis=1)[None, None]
