"""What the tests of methods whose weights are parameters have in common."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from conftest import TINY, initial_params, random_batch

from hyperx import model
from hyperx.methods.plain import Plain

TASKS = ("a", "b", "c")


def tiny(method) -> model.ModelConfig:
    return model.ModelConfig(backbone=TINY, method=method)


def count(method, backbone) -> int:
    """Parameters that a method adds to a backbone."""
    full = model.ModelConfig(backbone=backbone, method=method)
    shapes = model.abstract_parameters(full).shapes["hypernetwork"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def generator_of(params):
    return params["hypernetwork"]["generator"]


def moved(params):
    """Parameters whose parts change something."""

    def move(leaf):
        return leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def batch_of(*tasks: int):
    """A group of inputs for each task; without tasks, three groups."""
    batch = random_batch(len(tasks) or 3, 2)
    del batch["condition_tokens"]
    return batch | ({"condition_tokens": jnp.array(tasks)[:, None]} if tasks else {})


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def plain_logits(params, batch):
    """Of the backbone alone, which does not read tasks."""
    backbone = {k: v for k, v in params.items() if k != "hypernetwork"}
    batch = {k: v for k, v in batch.items() if k != "condition_tokens"}
    return logits_of(tiny(Plain()), backbone, batch)


def starts_as_plain_t5(method) -> None:
    """To the bit; and other parameters do change something."""
    full, batch = tiny(method), batch_of()
    params = initial_params(full)
    expected = plain_logits(params, batch)
    np.testing.assert_array_equal(logits_of(full, params, batch), expected)
    assert not np.allclose(logits_of(full, moved(params), batch), expected, 0.1)


def rows_are_shared_models(of_tasks, shared) -> None:
    """Each task has the logits of a shared model that holds its rows.

    Args:
        of_tasks: method with weights for each of `TASKS`.
        shared: the same with one set of weights.
    """
    order = (2, 0, 2, 1)
    full, batch = tiny(of_tasks), batch_of(*order)
    params = moved(initial_params(full))
    shapes = model.abstract_parameters(tiny(shared)).shapes
    logits = logits_of(full, params, batch)
    own = {k: v for k, v in batch.items() if k != "condition_tokens"}
    for group, task in enumerate(order):

        def row(array, one, task=task):
            """What a shared model holds: a share of the rows, or what all read."""
            if array.shape == one.shape:
                return array
            return jnp.split(array, len(TASKS), axis=-2)[task]

        held = jax.tree.map(row, params["hypernetwork"], shapes["hypernetwork"])
        alone = {name: array[group : group + 1] for name, array in own.items()}
        expected = logits_of(tiny(shared), params | {"hypernetwork": held}, alone)
        np.testing.assert_allclose(logits[group], expected[0], atol=1e-5, rtol=1e-5)
    first, second = (np.asarray(logits[group]) for group in (0, 1))
    assert not np.allclose(first, second, 0.1)
