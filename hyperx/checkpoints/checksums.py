"""Checksums of arrays, computed where the arrays are."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def of(arrays: Mapping[str, Any]) -> dict[str, int]:
    """Sums of the bits of each array, taken as words of at most 32, modulo 2**32.

    Sums of integers do not depend on how an array is spread over devices.

    Args:
        arrays: of jax or numpy.
    """
    on_device = {k: v for k, v in arrays.items() if isinstance(v, jax.Array)}
    sums = jax.device_get(_on_device(list(on_device.values())))
    values = dict(zip(on_device, map(int, sums), strict=True))
    for name in arrays.keys() - values.keys():
        array = np.ascontiguousarray(arrays[name]).reshape(-1)
        values[name] = int(array.view(_word(array)).sum(dtype=np.uint32))
    return values


@jax.jit
def _on_device(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    words = [x.view(_word(x)).astype(jnp.uint32) for x in arrays]
    return [jnp.sum(x, dtype=jnp.uint32) for x in words]


def _word(x: Any) -> np.dtype:
    return np.dtype(f"u{min(x.dtype.itemsize, 4)}")
