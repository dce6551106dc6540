"""Learning rates of groups: exact multiples, first match, and what stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY, tiny_hint
from flax.traverse_util import flatten_dict

from hyperx import model, sharding
from hyperx.methods.plain import Plain
from hyperx.optim import rate_factors
from hyperx.optim.optimizers import Adafactor, AdamW
from hyperx.runs.state import Recipe

PLAIN = model.ModelConfig(backbone=TINY, method=Plain())
FACTORS = {
    "encoder/layers/": 0.5,
    "encoder/": 0.0,
    "encoder/encoder_norm": 4.0,  # never the first to match
}


def test_the_first_match_counts():
    params = {"a": {"b": 1, "c": 2}, "d": 3}
    assert rate_factors.of(params, {"a/b": 0.5, "a/": 2.0}) == {
        "a": {"b": 0.5, "c": 2.0},
        "d": 1.0,
    }
    assert rate_factors.of(params, {}) == {"a": {"b": 1.0, "c": 1.0}, "d": 1.0}


def test_wrong_factors():
    with pytest.raises(ValueError, match="expected 'e/' to match.*nearest: .*a/b"):
        rate_factors.of({"a": {"b": 1}}, {"e/": 2.0})
    with pytest.raises(ValueError, match="at least 0, got -1.0 for 'a/'"):
        rate_factors.of({"a": {"b": 1}}, {"a/": -1.0})


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=1e-3, weight_decay=0.1, clip_norm=1.0),
        Adafactor(learning_rate=1e-2, min_dim_size_to_factor=16),
    ],
)
def test_updates_are_multiples(optimizer):
    recipes = [Recipe(PLAIN, optimizer), Recipe(PLAIN, optimizer, (), FACTORS)]
    random = np.random.default_rng(0)
    params, grads = (
        jax.tree.map(
            lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype),
            recipes[0].parameters.shapes,
        )
        for _ in range(2)
    )

    def updated(recipe):
        adam = recipe.transformation
        updates, state = jax.jit(adam.update)(grads, adam.init(params), params)
        after = optax.apply_updates(params, updates)
        return *(flatten_dict(tree, sep="/") for tree in (updates, after)), state

    (whole, moved, one), (factored, got, other) = map(updated, recipes)
    start = flatten_dict(params, sep="/")
    counts = dict.fromkeys((0.0, 0.5, 1.0), 0)
    for path, update in whole.items():
        factor = 0.0 if path.startswith("encoder/") else 1.0
        factor = 0.5 if path.startswith("encoder/layers/") else factor
        counts[factor] += 1
        assert np.all(update != 0), path
        np.testing.assert_array_equal(factored[path], factor * update, path)
        if factor != 0.5:
            expected = moved if factor else start
            np.testing.assert_array_equal(got[path], expected[path], path)
    assert all(counts.values())
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kind", [Adafactor, AdamW])
def test_the_state_stays_as_it_was(kind):
    mesh = sharding.make_mesh(2, model=4)
    frozen = ("encoder/", "token_embedder/")
    recipes = (
        Recipe(tiny_hint(), kind(learning_rate=0.1), frozen, factors)
        for factors in ({}, {"encoder/": 2.0, "hypernetwork/": 2.0})
    )
    plain, factored = (recipe.abstract(mesh) for recipe in recipes)
    assert plain == factored
    with pytest.raises(ValueError, match="'nothing' to match"):
        Recipe(tiny_hint(), kind(learning_rate=0.1), (), {"nothing": 1.0})
