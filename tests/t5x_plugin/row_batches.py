"""Batches of rows, as t5x makes them, of grouped ones."""

import jax.numpy as jnp


def as_rows(grouped):
    """The same rows, each with its condition."""
    rows = grouped["encoder_tokens"].shape[1]
    flat = {
        name: array.reshape(-1, array.shape[-1])
        for name, array in grouped.items()
        if name != "condition_tokens"
    }
    flat["encoder_input_tokens"] = flat.pop("encoder_tokens")
    flat["condition_tokens"] = jnp.repeat(grouped["condition_tokens"], rows, axis=0)
    return flat
