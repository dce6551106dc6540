"""Activations by name."""

from collections.abc import Callable

import jax

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": jax.nn.gelu,  # the tanh approximation, as T5 v1.1 was trained with
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
    "linear": lambda x: x,
}


def get(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation called `name`.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"expected an activation among {sorted(_ACTIVATIONS)}, got {name!r}"
        )
    return _ACTIVATIONS[name]
