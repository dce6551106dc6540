"""Relative positions, adapters and losses against hand-computed numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperx.adaptation import Adapter
from hyperx.ops import activations, adapters, losses, relative_positions


@pytest.mark.parametrize(
    ("bidirectional", "expected"),
    [
        # 8 buckets per side: 4 exact, then up to 20 in 4 logarithmic ones.
        (True, {0: 0, -1: 1, 1: 9, -3: 3, 3: 11, -4: 4, -19: 7, -500: 7, 500: 15}),
        # 16 buckets for the past: 8 exact; the future shares bucket 0.
        (False, {0: 0, 5: 0, -1: 1, -7: 7, -8: 8, -19: 15, -500: 15}),
    ],
)
def test_buckets(bidirectional, expected):
    got = relative_positions.buckets(
        jnp.array(list(expected)),
        bidirectional=bidirectional,
        num_buckets=16,
        max_distance=20,
    )
    assert got.tolist() == list(expected.values())


def test_bias_of_one_row_equals_that_row_of_all():
    table = jax.random.normal(jax.random.key(0), (3, 16))
    kind = dict(bidirectional=False, max_distance=20)
    everything = relative_positions.bias(table, jnp.arange(9), jnp.arange(9), **kind)
    row = relative_positions.bias(table, jnp.array([4]), jnp.arange(9), **kind)
    np.testing.assert_array_equal(row[..., 0, :], everything[..., 4, :])


def test_adapter_by_hand():
    """Unit 0 reads x0 and writes to y1; unit 1 is off below its bias."""
    adapter = Adapter(
        down=jnp.array([[[1.0, 0.0], [0.0, 1.0]]]),
        up=jnp.array([[[0.0, 2.0], [1.0, 0.0]]]),
        down_bias=jnp.array([[0.0, -10.0]]),
        up_bias=jnp.array([[0.5, 0.0]]),
        activation="relu",
    )
    x = jnp.array([[[[3.0, 4.0]]]])
    np.testing.assert_allclose(adapters.parallel(adapter, x), [[[[0.5, 6.0]]]])


def test_no_adapter_adds_nothing():
    assert adapters.parallel(None, jnp.ones((1, 1, 1, 2))) == 0.0


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[[1.0, 3.0]]]]))
    got = losses.cross_entropy(logits, jnp.array([[[1]]]), z_loss=0.1)
    np.testing.assert_allclose(got, np.log(4 / 3) + 0.1 * np.log(4) ** 2, rtol=1e-6)


def test_sequence_log_probability_counts_weighted_tokens():
    logits = jnp.zeros((1, 1, 3, 4))
    weights = jnp.array([[[1.0, 1.0, 0.0]]])
    got = losses.sequence_log_probability(logits, jnp.zeros((1, 1, 3), int), weights)
    np.testing.assert_allclose(got, [[2 * np.log(1 / 4)]], rtol=1e-6)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="expected an activation among .* got 'gelo'"):
        activations.get("gelo")
