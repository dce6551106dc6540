"""Application of generated bottleneck adapters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hyperx.adaptation import PLACEMENTS, Adapter
from hyperx.ops import activations

_NORM_EPSILON = 1e-5


def apply(adapter: Adapter, x: jax.Array) -> jax.Array:
    """Output of an adapter.

    Args:
        adapter: the adapter of each group, ``[G, ...]`` or ``[1, ...]`` for all.
        x: what it reads, ``[G, R, T, D]``.

    Returns:
        ``[G, R, T, D]``.
    """
    hidden = jnp.einsum("GRTD,GMD->GRTM", x, adapter.down)
    hidden = hidden + adapter.down_bias[:, None, None, :]
    hidden = activations.get(adapter.activation)(hidden)
    out = jnp.einsum("GRTM,GMD->GRTD", hidden, adapter.up)
    out = out + adapter.up_bias[:, None, None, :]
    if adapter.norm_scale is None:
        return out
    return _normalized(out, adapter.norm_scale, adapter.norm_bias)


def joined(
    adapter: Adapter | None,
    residual: jax.Array,
    normal: jax.Array,
    output: jax.Array,
    dropout: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """The residual stream after a sub-layer and its adapter.

    Args:
        adapter: of the sub-layer, or None.
        residual: the stream before it, ``[G, R, T, D]``.
        normal: what the sub-layer reads, ``[G, R, T, D]``.
        output: what it writes, ``[G, R, T, D]``.
        dropout: of what a sub-layer writes; a sequential adapter belongs to that.

    Raises:
        ValueError: for an unknown placement.
    """
    if adapter is None:
        return residual + dropout(output)
    match adapter.placement:
        case "parallel":
            return residual + dropout(output) + apply(adapter, normal)
        case "residual":
            return residual + dropout(output) + apply(adapter, residual)
        case "sequential":
            return residual + dropout(output + apply(adapter, output))
    raise ValueError(f"expected a placement of {PLACEMENTS}, got {adapter.placement!r}")


def _normalized(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Layer normalisation over D with scale and bias ``[G, D]``; float32 statistics."""
    wide = x.astype(jnp.float32)
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    normal = (wide * jax.lax.rsqrt(variance + _NORM_EPSILON)).astype(x.dtype)
    return normal * scale[:, None, None, :] + bias[:, None, None, :]
