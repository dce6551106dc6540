"""Fingerprints: short names of models, by description and parameters."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp

from hyperx.model import ModelConfig


def of(config: ModelConfig, params: Any) -> str:
    """16 hexadecimal digits that differ if the description or any bit differs."""
    digest = hashlib.sha256()
    digest.update(json.dumps(config.to_json(), sort_keys=True).encode())
    sums = jax.device_get(_bit_sums(params))
    for path, value in jax.tree_util.tree_leaves_with_path(sums):
        digest.update(f"{jax.tree_util.keystr(path)}={int(value)}".encode())
    return digest.hexdigest()[:16]


@jax.jit
def _bit_sums(params: Any) -> Any:
    return jax.tree.map(_bit_sum, params)


def _bit_sum(leaf: jax.Array) -> jax.Array:
    """Sum of an array's bits as integers weighted by position, modulo 2^32."""
    bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32).ravel()
    return jnp.sum(bits * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1))
