"""Application of generated bottleneck adapters."""

import jax
import jax.numpy as jnp

from hyperx.adaptation import Adapter
from hyperx.ops import activations


def parallel(adapter: Adapter | None, x: jax.Array) -> jax.Array | float:
    """Output of an adapter that runs beside its sub-layer (He et al. 2022).

    Args:
        adapter: the adapter of each group, ``[G, ...]`` or ``[1, ...]`` for all; None
            adds nothing.
        x: what the sub-layer reads, ``[G, R, T, D]``.

    Returns:
        What to add to the sub-layer's output, ``[G, R, T, D]``.
    """
    if adapter is None:
        return 0.0
    hidden = jnp.einsum("GRTD,GMD->GRTM", x, adapter.down)
    hidden = hidden + adapter.down_bias[:, None, None, :]
    hidden = activations.get(adapter.activation)(hidden)
    out = jnp.einsum("GRTM,GMD->GRTD", hidden, adapter.up)
    return out + adapter.up_bias[:, None, None, :]
