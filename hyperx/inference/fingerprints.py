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
    """Sum modulo 2^32 of an array's words, each mixed with its position.

    Mixed as MurmurHash3 ends (Appleby 2011): sums of words alone do not see when all
    change alike, as in twice the weights.
    """
    bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32).ravel()
    word = bits ^ (jnp.arange(bits.size, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9))
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return jnp.sum(word ^ (word >> 16), dtype=jnp.uint32)
