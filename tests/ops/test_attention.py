"""Attention over segments: equal to one joined attention, per row and per group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperx.ops import attention
from hyperx.ops.attention import Segment

G, R, T, S, H, K = 2, 3, 4, 5, 2, 8


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture
def query():
    return normal(0, G, R, T, H, K)


@pytest.fixture
def own():
    mask = jax.random.bernoulli(jax.random.key(9), 0.7, (G, R, S)).at[..., 0].set(True)
    bias = normal(8, 1, 1, H, T, S)
    return Segment(normal(1, G, R, S, H, K), normal(2, G, R, S, H, K), mask, bias)


def test_shared_segment_equals_its_copies(query, own):
    key, value = normal(3, G, 6, H, K), normal(4, G, 6, H, K)
    copies = Segment(*(jnp.repeat(x[:, None], R, axis=1) for x in (key, value)))
    shared = attention.attend(query, (Segment(key, value), own))
    np.testing.assert_allclose(
        shared, attention.attend(query, (copies, own)), atol=1e-6
    )


def test_segments_equal_one_joined_segment(query, own):
    other = Segment(normal(5, G, R, 3, H, K), normal(6, G, R, 3, H, K))
    joined = Segment(
        jnp.concatenate([other.key, own.key], axis=2),
        jnp.concatenate([other.value, own.value], axis=2),
        jnp.concatenate([jnp.ones((G, R, 3), bool), own.mask], axis=2),
        jnp.concatenate([jnp.zeros((1, 1, H, T, 3)), own.bias], axis=-1),
    )
    np.testing.assert_allclose(
        attention.attend(query, (other, own)),
        attention.attend(query, (joined,)),
        atol=1e-6,
    )


def test_equals_jax_attention(query, own):
    """`jax.nn.dot_product_attention` is an independent implementation."""
    flat = [x.reshape(G * R, *x.shape[2:]) for x in (query, own.key, own.value)]
    expected = jax.nn.dot_product_attention(
        *flat,
        bias=own.bias[0],
        mask=own.mask.reshape(G * R, 1, 1, S),
        scale=1.0,
    )
    got = attention.attend(query, (own,)).reshape(expected.shape)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_broadcast_group_equals_copies(query, own):
    key, value = normal(3, 1, 6, H, K), normal(4, 1, 6, H, K)
    copies = Segment(*(jnp.repeat(x, G, axis=0) for x in (key, value)))
    np.testing.assert_allclose(
        attention.attend(query, (Segment(key, value), own)),
        attention.attend(query, (copies, own)),
        atol=1e-6,
    )


def test_masked_positions_have_no_influence(query, own):
    def total(value):
        out = attention.attend(query, (own.replace(value=value),))
        return jnp.sum(jnp.sin(out))

    grads = jax.grad(total)(own.value)
    assert not np.any(np.asarray(grads)[~np.asarray(own.mask)])
    assert np.any(np.asarray(grads)[np.asarray(own.mask)])


def test_nothing_visible_is_finite(query, own):
    hidden = own.replace(mask=jnp.zeros_like(own.mask))
    assert np.all(np.isfinite(attention.attend(query, (hidden,))))


def test_where_positions_lie_changes_nothing(query, own):
    shared = Segment(normal(3, G, 6, H, K), normal(4, G, 6, H, K))
    rearranged = [segment.with_length_last() for segment in (shared, own)]
    assert rearranged[1].key.shape == (G, R, H, K, S)
    np.testing.assert_allclose(
        attention.attend(query, rearranged),
        attention.attend(query, (shared, own)),
        atol=1e-6,
    )


def test_softmax_has_the_derivatives_of_its_parts():
    scores, change = normal(0, 3, 7), normal(1, 3, 7)
    for derivative in (jax.jvp, lambda f, x, t: jax.vjp(f, *x)[1](*t)):
        got = derivative(attention.softmax, (scores,), (change,))
        expected = derivative(jax.nn.softmax, (scores,), (change,))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected
        )
