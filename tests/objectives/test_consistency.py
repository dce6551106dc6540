"""Consistency: zero for equal conditions, and a matter of the generator alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.traverse_util import flatten_dict

from hyperx import adaptation, model
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods.plain import Plain
from hyperx.objectives import objective
from hyperx.objectives.consistency import Consistency, mean_squared_difference

DROPPING = dataclasses.replace(TINY, dropout_rate=0.3)


def conditioning(prefix, scale, prompt=None):
    """Of two layers, from arrays [L, G, ...]."""
    prefix = adaptation.Prefix(jnp.array(prefix), jnp.array(prefix))
    encoder = adaptation.LayerAdaptation(adaptation.SiteParts(prefix=prefix))
    scaled = {"hidden": adaptation.Scale(jnp.array(scale))}
    decoder = adaptation.LayerAdaptation(mlp=adaptation.SiteParts(scale=scaled))
    return Conditioning(
        Emission.precomputed(encoder), Emission.precomputed(decoder), prompt=prompt
    )


def test_difference_by_hand():
    shape = (2, 3, 1, 1, 1)  # two layers, three groups
    prefix = np.zeros(shape)
    prefix[0, 1], prefix[1, 2] = 2.0, 1.0
    scale = np.zeros((2, 3, 3))
    scale[1, 2] = 1.0
    prompt = jnp.zeros((3, 1, 5)).at[0].set(1.0)
    one = conditioning(prefix, scale, prompt)
    other = conditioning(np.zeros(shape), np.zeros((2, 3, 3)), jnp.zeros((3, 1, 5)))
    # Keys and values 2 + 2 numbers, scales 6, prompt 5.
    expected = np.array([5.0, 2 * 4.0, 2 * 1.0 + 3.0]) / 15
    np.testing.assert_allclose(mean_squared_difference(one, other), expected)


def test_what_all_groups_share_counts_for_each():
    prefix = np.ones((2, 3, 1, 1, 1))
    one = conditioning(prefix, np.ones((2, 1, 2)))
    other = conditioning(0 * prefix, np.ones((2, 1, 2)))
    np.testing.assert_allclose(mean_squared_difference(one, other), [0.5, 0.5, 0.5])


def test_there_must_be_something_generated():
    with pytest.raises(ValueError, match="generates weights, got none"):
        mean_squared_difference(Conditioning(), Conditioning())
    with pytest.raises(ValueError, match="got one that reads 'prompt'"):
        plain = model.ModelConfig(backbone=TINY, method=Plain())
        Consistency().check(plain, None)


@functools.partial(jax.jit, static_argnums=0)
def sums(config, params, batch, key=None):
    """The loss of a batch with consistency, and its metrics' sums."""
    module, term = config.build(), Consistency(weight=2.0)
    return objective.loss(
        module, params, batch, key, objectives=(term,), teachers=(None,)
    )


@pytest.mark.parametrize("key", [None, 5])
def test_equal_conditions_are_consistent(mesh, key):
    """With dropout too: it is the same for both."""
    config = tiny_hint(DROPPING)
    params, batch = initial_params(config), random_batch()
    key = None if key is None else jax.random.key(key)
    batch["other_condition_tokens"] = batch["condition_tokens"]
    assert sums(config, params, batch, key)[1]["consistency"] == 0
    # Another length of padding is no difference either.
    padded = jnp.pad(batch["condition_tokens"], ((0, 0), (0, 5)))
    if key is None:
        batch["other_condition_tokens"] = padded
        got = sums(config, params, batch)[1]["consistency"]
        np.testing.assert_allclose(got, 0, atol=1e-6)


def test_each_group_counts_by_its_tokens(mesh):
    config = tiny_hint()
    params, batch = initial_params(config), random_batch()
    other = random_batch(seed=1)["condition_tokens"]
    same = batch | {
        "other_condition_tokens": batch["condition_tokens"].at[1].set(other[1])
    }
    total, got = sums(config, params, same)
    assert got["consistency"] > 0
    np.testing.assert_allclose(
        total, got["cross_entropy"] + 2 * got["consistency"], rtol=1e-6
    )
    weights = batch["decoder_loss_weights"]
    elsewhere = same | {"decoder_loss_weights": weights.at[1].set(0.0)}
    assert sums(config, params, elsewhere)[1]["consistency"] == 0
    one = same | {"decoder_loss_weights": jnp.zeros_like(weights).at[1, 0, 0].set(1.0)}
    per_token = sums(config, params, one)[1]["consistency"]
    np.testing.assert_allclose(
        got["consistency"], per_token * weights[1].sum(), rtol=1e-5
    )


@pytest.mark.parametrize("tied", [True, False])
def test_its_gradient_reaches_what_generates_alone(mesh, tied):
    config = tiny_hint(tied_encoder=tied)
    params, batch = initial_params(config), random_batch()
    batch["other_condition_tokens"] = random_batch(seed=1)["condition_tokens"]

    def consistency(params):
        return sums(config, params, batch)[1]["consistency"]

    grads = flatten_dict(jax.jit(jax.grad(consistency))(params), sep="/")
    reached = {path for path, grad in grads.items() if np.any(grad != 0)}
    generator = {path for path in grads if path.startswith("hypernetwork/generator/")}
    assert generator <= reached
    # Conditions are read by the backbone's encoder if it is shared, and embedded there.
    reading = "encoder/" if tied else "hypernetwork/conditioner/"
    embedding = {"token_embedder/embedding"}
    assert reached <= generator | embedding | {
        p for p in grads if p.startswith(reading)
    }
