"""Relative positions, adapters and losses against hand-computed numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperx.adaptation import Adapter, LowRank, Scale
from hyperx.ops import activations, adapters, losses, projections, relative_positions


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
    np.testing.assert_allclose(adapters.apply(adapter, x), [[[[0.5, 6.0]]]])


@pytest.mark.parametrize(
    ("placement", "expected"),
    # The stream is 1, normalised 10, the sub-layer writes 100; dropout halves, and the
    # adapter doubles what it reads.
    [(None, 51), ("parallel", 71), ("residual", 53), ("sequential", 151)],
)
def test_placement_says_what_an_adapter_reads(placement, expected):
    one, zero = jnp.ones((1, 1, 1)), jnp.zeros((1, 1))
    adapter = placement and Adapter(one, 2 * one, zero, zero, placement=placement,
                                    activation="linear")  # fmt: skip
    stream, normal, output = (jnp.full((1, 1, 1, 1), x) for x in (1.0, 10.0, 100.0))
    got = adapters.joined(adapter, stream, normal, output, lambda x: x / 2)
    assert got.item() == expected


def test_adapter_normalisation_by_hand():
    """Outputs -1 and 3 are centred and scaled to -1 and 1, then 2x + 5."""
    eye = jnp.eye(2)[None]
    norm = dict(norm_scale=jnp.full((1, 2), 2.0), norm_bias=jnp.full((1, 2), 5.0))
    adapter = Adapter(eye, eye, *jnp.zeros((2, 1, 2)), **norm, activation="linear")
    got = adapters.apply(adapter, jnp.array([[[[-1.0, 3.0]]]]))
    np.testing.assert_allclose(got, [[[[3.0, 7.0]]]], atol=1e-4)


def test_low_rank_update_equals_the_changed_kernel():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (2, 3, 4, 5))
    kernel = jax.random.normal(keys[1], (5, 6))
    part = LowRank(
        jax.random.normal(keys[2], (2, 2, 5)),
        jax.random.normal(keys[3], (2, 2, 6)),
        scale=0.5,
    )
    kernels = kernel[None] + 0.5 * jnp.einsum("GNi,GNo->Gio", part.a, part.b)
    expected = jnp.einsum("GRTi,Gio->GRTo", x, kernels)
    got = projections.updated(x @ kernel, part, x)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_factors_multiply_their_group():
    factor = Scale(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    got = projections.scaled(jnp.ones((2, 5, 2)), factor)
    assert got[0].tolist() == [[1, 2]] * 5
    assert got[1].tolist() == [[3, 4]] * 5


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[[1.0, 3.0]]]]))
    got = losses.cross_entropy(logits, jnp.array([[[1]]]), z_loss=0.1)
    np.testing.assert_allclose(got, np.log(4 / 3) + 0.1 * np.log(4) ** 2, rtol=1e-6)


def test_predicted_is_what_argmax_tells():
    # Few different logits, so that many of the largest are equal.
    logits = jax.random.randint(jax.random.key(0), (2, 3, 50, 5), 0, 3).astype(float)
    targets = jax.random.randint(jax.random.key(1), (2, 3, 50), 0, 5)
    expected = jnp.argmax(logits, axis=-1) == targets
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(losses.predicted(logits, targets), expected)


def test_product_and_its_gradients_by_einsum():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    kernel = jax.random.normal(jax.random.key(1), (5, 6))
    change = jax.random.normal(jax.random.key(2), (2, 3, 4, 6))
    got, gradients = jax.vjp(projections.product, x, kernel)
    np.testing.assert_allclose(got, jnp.einsum("GRTi,io->GRTo", x, kernel), rtol=1e-5)
    expected = (
        jnp.einsum("GRTo,io->GRTi", change, kernel),
        jnp.einsum("GRTi,GRTo->io", x, change),
    )
    for one, other in zip(gradients(change), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_sequence_log_probability_counts_weighted_tokens():
    logits = jnp.zeros((1, 1, 3, 4))
    weights = jnp.array([[[1.0, 1.0, 0.0]]])
    got = losses.sequence_log_probability(logits, jnp.zeros((1, 1, 3), int), weights)
    np.testing.assert_allclose(got, [[2 * np.log(1 / 4)]], rtol=1e-6)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="expected an activation among .* got 'gelo'"):
        activations.get("gelo")
