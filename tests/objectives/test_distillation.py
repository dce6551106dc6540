"""Distillation: by hand, from oneself, and what its gradient reaches."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint

from hyperx import model
from hyperx.methods.plain import Plain
from hyperx.objectives import objective
from hyperx.objectives.distillation import Distillation
from hyperx.ops import losses

TERM = Distillation(teacher="unread")
PLAIN = model.ModelConfig(backbone=TINY, method=Plain())


def logits(*probabilities):
    return jnp.log(jnp.array(probabilities))[None, None]


def test_divergence_by_hand():
    teacher, student = (
        logits([0.5, 0.5], [1.0, 1e-30]),
        logits([0.25, 0.75], [0.5, 0.5]),
    )
    got = losses.kl_divergence(teacher, student)
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(2)]
    np.testing.assert_allclose(got[0, 0], expected, rtol=1e-6)


def test_temperature_flattens_and_keeps_the_size_of_gradients():
    teacher, student = (
        jax.random.normal(jax.random.key(i), (1, 2, 3, 9)) for i in range(2)
    )
    hot = losses.kl_divergence(teacher, student, temperature=3.0)
    flat = losses.kl_divergence(teacher / 3, student / 3)
    np.testing.assert_allclose(hot, 9 * flat, rtol=1e-5)
    # At high temperature, half the variance of the difference of logits (Hinton).
    limit = losses.kl_divergence(teacher, student, temperature=100.0)
    half = jnp.var(teacher - student, axis=-1) / 2
    np.testing.assert_allclose(limit, half, rtol=0.05)


def test_divergence_is_positive_and_zero_for_equals():
    teacher, student = (
        jax.random.normal(jax.random.key(i), (2, 2, 3, 9)) for i in range(2)
    )
    assert np.all(losses.kl_divergence(teacher, student) > 0)
    assert np.all(losses.kl_divergence(teacher, teacher) == 0)
    # Logits are known up to a constant.
    shifted = losses.kl_divergence(teacher, teacher + 3.0)
    np.testing.assert_allclose(shifted, 0, atol=1e-6)


@functools.partial(jax.jit, static_argnames=("config", "term"))
def sums(config, params, batch, teacher, term=TERM):
    """The loss of a batch with distillation, and its metrics' sums."""
    module = config.build()
    return objective.loss(
        module, params, batch, None, objectives=(term,), teachers=(teacher,)
    )


def test_nothing_to_learn_from_oneself(mesh):
    params, term = initial_params(PLAIN), dataclasses.replace(TERM, weight=100.0)
    batch = random_batch()
    del batch["condition_tokens"]
    batch["prompt_tokens"] = batch["encoder_tokens"]
    teacher = objective.Teacher(params, PLAIN)
    total, got = sums(PLAIN, params, batch, teacher, term)
    np.testing.assert_allclose(got["distillation"], 0, atol=1e-5)
    np.testing.assert_allclose(total, got["cross_entropy"], rtol=1e-5)
    batch["prompt_tokens"] = batch["encoder_tokens"][::-1]
    total, got = sums(PLAIN, params, batch, teacher, term)
    assert got["distillation"] > 1.0
    expected = got["cross_entropy"] + 100 * got["distillation"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_only_target_tokens_count(mesh):
    config = tiny_hint()
    params, teacher = initial_params(config), initial_params(PLAIN, 1)
    batch = random_batch()
    batch["prompt_tokens"] = random_batch(seed=3)["encoder_tokens"]
    teacher = objective.Teacher(teacher, PLAIN)
    whole = sums(config, params, batch, teacher)[1]["distillation"]
    weights = batch["decoder_loss_weights"]
    halves = [
        sums(config, params, batch | {"decoder_loss_weights": part}, teacher)[1]
        for part in (weights.at[:, 0].set(0.0), weights.at[:, 1].set(0.0))
    ]
    np.testing.assert_allclose(
        whole, sum(half["distillation"] for half in halves), rtol=1e-5
    )


def test_a_student_follows_its_teacher(mesh):
    """Down the gradient the divergence shrinks."""
    params, taught = initial_params(PLAIN), initial_params(PLAIN, 1)
    batch = random_batch(groups=2, rows=1, padded=False)
    del batch["condition_tokens"]
    batch["prompt_tokens"] = random_batch(groups=2, rows=1, seed=3)["encoder_tokens"]

    def divergence(params, taught):
        teacher = objective.Teacher(taught, PLAIN)
        return sums(PLAIN, params, batch, teacher)[1]["distillation"]

    descend = jax.jit(jax.value_and_grad(divergence))
    values = []
    for _ in range(5):
        value, grads = descend(params, taught)
        values.append(float(value))
        size = optax.tree.norm(grads)
        params = jax.tree.map(lambda p, g, s=size: p - 0.05 * g / s, params, grads)
    assert all(a > b for a, b in itertools.pairwise(values)), values


def test_what_does_not_suit():
    config, term = tiny_hint(), Distillation(teacher="there")
    term.check(config, PLAIN)
    other = dataclasses.replace(TINY, vocab_size=128)
    for teacher, message in (
        (
            dataclasses.replace(PLAIN, method=Plain(reads="inputs")),
            "got one that reads",
        ),
        (config, "reads prompts in there, got one that reads 'condition'"),
        (dataclasses.replace(PLAIN, backbone=other), "VOCAB_SIZE 64 in there, got 128"),
    ):
        with pytest.raises(ValueError, match=message):
            term.check(config, teacher)
    with pytest.raises(ValueError, match="temperature above 0, got 0"):
        Distillation(teacher="there", temperature=0)
    with pytest.raises(TypeError, match="teacher"):
        Distillation()
