"""Learning rates of groups of parameters, as factors of the one learning rate."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import jax
import optax
from flax.traverse_util import flatten_dict, unflatten_dict


def of(params: Any, factors: Mapping[str, float]) -> dict:
    """The factor of every parameter.

    Args:
        params: nested dicts; leaves may be anything.
        factors: by regular expression. The first one that matches a parameter's path,
            joined by ``/``, from the start (`re.match`) gives its factor: with
            ``{"hypernetwork/": 10.0}`` hypernetworks learn at ten times the rate.
            Others have factor 1.

    Returns:
        The same tree with a number per leaf.

    Raises:
        ValueError: if an expression matches nothing, or a factor is negative.
    """
    flat = flatten_dict(params, sep="/")
    for pattern, factor in factors.items():
        if not any(re.match(pattern, path) for path in flat):
            near = difflib.get_close_matches(pattern, flat, n=3, cutoff=0.0)
            raise ValueError(
                f"expected {pattern!r} to match the path of a parameter, got no match; "
                f"nearest: {', '.join(near)}"
            )
        if factor < 0:
            raise ValueError(
                f"expected factors of at least 0, got {factor} for {pattern!r}"
            )
    chosen = {
        path: next((f for p, f in factors.items() if re.match(p, path)), 1.0)
        for path in flat
    }
    return unflatten_dict(chosen, sep="/")


def scaled(
    transformation: optax.GradientTransformation, factors: Any
) -> optax.GradientTransformation:
    """The transformation with every update multiplied by its factor.

    Its state is that of `transformation`, so that factors may change between the runs
    that train one model.

    Args:
        transformation: ends with a multiplication by the learning rate, as all
            optimizers do.
        factors: the tree of parameters with a number per leaf.
    """

    def update(
        grads: Any, state: optax.OptState, params: Any = None
    ) -> tuple[Any, optax.OptState]:
        updates, state = transformation.update(grads, state, params)
        return jax.tree.map(lambda u, factor: u * factor, updates, factors), state

    return optax.GradientTransformation(transformation.init, update)
