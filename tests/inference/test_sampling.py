"""Sampling: the right tokens, as often as they should come, whoever else is there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import initial_params, tiny_hint
from scipy import stats

from hyperx import sharding
from hyperx.inference.decoding import Greedy, Requests, Sample, Shape, sampling
from hyperx.inference.decoding.running import Running
from hyperx.inference.predictor import Predictor

T, DRAWS = 6, 8192
LOGITS = np.log([0.28, 0.02, 0.2, 0.05, 0.25, 0.08, 0.12])


def expected(temperature=1.0, top_k=None, top_p=None, logits=LOGITS):
    """Probabilities, by sorting."""
    logits = logits / temperature
    order = np.argsort(-logits)
    kept = order[:top_k]
    chances = np.exp(logits[kept]) / np.exp(logits[kept]).sum()
    if top_p is not None:
        kept = kept[: np.searchsorted(np.cumsum(chances), top_p) + 1]
    masked = np.where(np.isin(np.arange(len(logits)), kept), np.exp(logits), 0.0)
    return masked / masked.sum()


CUTS = [
    Sample(),
    Sample(0.5),
    Sample(2.0),
    Sample(top_k=1),
    Sample(top_k=3),
    Sample(top_k=99),
    Sample(top_p=0.6),
    Sample(top_p=1e-6),
    Sample(top_p=1.0),
    Sample(1.5, top_k=5, top_p=0.7),
]


def of_rows(strategies, seed=0):
    """Requests ``[1, R]``, a strategy for each row."""
    each = [Requests.of(strategy, T, seed=seed) for strategy in strategies]
    return jax.tree.map(lambda *leaves: np.stack(leaves)[None], *each)


def drawn(strategies, seed):
    """Draws ``[R, DRAWS]`` of a program that serves all rows."""
    rows = len(strategies)
    shape = (1, rows, DRAWS)
    running = Running(
        position=jnp.int32(0),
        tokens=jnp.zeros((*shape, T), jnp.int32),
        lengths=jnp.zeros(shape, jnp.int32),
        scores=jnp.zeros(shape),
        done=jnp.zeros(shape, bool),
        caches=(),
        ancestors=None,
        keys=jax.random.split(jax.random.key(seed), shape),
        requests=of_rows(strategies),
        steps=None,
        beam=False,
    )
    logits = jnp.broadcast_to(jnp.asarray(LOGITS, jnp.float32), (*shape, len(LOGITS)))
    after = jax.jit(sampling.chosen)(logits, running)
    return np.asarray(after.tokens[0, ..., 0]), np.asarray(after.scores[0])


def test_tokens_come_as_often_as_softmax_says():
    """By chi-square, every row with a strategy of its own."""
    tokens, scores = drawn(CUTS, seed=0)
    for strategy, row, score in zip(CUTS, tokens, scores, strict=True):
        chances = expected(strategy.temperature, strategy.top_k, strategy.top_p)
        counts = np.bincount(row, minlength=len(LOGITS))
        possible = chances > 0
        assert not counts[~possible].any()
        found = stats.chisquare(counts[possible], DRAWS * chances[possible])
        assert possible.sum() == 1 or found.pvalue > 1e-3, strategy
        # The model's own probability, whatever it was drawn with.
        np.testing.assert_allclose(score, LOGITS[row], atol=1e-5)


def test_another_distribution_would_be_told_apart():
    tokens, _ = drawn([Sample()], seed=0)
    counts = np.bincount(tokens[0], minlength=len(LOGITS))
    assert stats.chisquare(counts, DRAWS * expected(1.25)).pvalue < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_cuts_are_those_of_sorting(seed):
    """Of large vocabularies, with logits of both signs and a different cut per row."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(1, 4, 2, 1000)).astype(np.float32) * 3
    top_k = np.array([[1000, 7, 1000, 50]])
    top_p = np.array([[1.0, 1.0, 0.8, 0.5]], np.float32)
    kept = np.asarray(jax.jit(sampling.truncated)(logits, top_k, top_p))
    for row, (k, p) in enumerate(zip(top_k[0], top_p[0], strict=True)):
        for one in range(2):
            own = logits[0, row, one]
            wanted = expected(top_k=k, top_p=p if p < 1 else None, logits=own) > 0
            np.testing.assert_array_equal(np.isfinite(kept[0, row, one]), wanted)
            np.testing.assert_array_equal(kept[0, row, one][wanted], own[wanted])


def test_equally_likely_tokens_stay_together():
    logits = jnp.array([[[[1.0, 2.0, 2.0, 0.0]]]])
    kept = sampling.truncated(logits, jnp.array([[1]]), jnp.array([[1.0]]))
    assert np.isfinite(kept[0, 0, 0]).tolist() == [False, True, True, False]


@pytest.fixture(scope="module")
def hint():
    config = tiny_hint()
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        params = jax.tree.map(lambda leaf: 2 * leaf, initial_params(config))
    return Predictor(config, params, None, {})


@pytest.fixture(scope="module")
def state(hint):
    return hint.adapt_tokens(np.arange(2, 9, dtype=np.int32)[None])


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).integers(2, 64, (1, 4, 6)).astype(np.int32)


def test_without_temperature_it_is_greedy_to_the_bit(hint, state, inputs):
    greedy = hint.generate_tokens(inputs, state, T, Greedy())
    cold = hint.generate_tokens(inputs, state, T, Sample(0.0, top_k=3), seed=7)
    for found, wanted in zip(cold, greedy, strict=True):
        np.testing.assert_array_equal(found, wanted)
    # And with others in the batch that are drawn.
    requests = of_rows([Greedy(), Sample(2.0), Greedy(), Sample(2.0, top_k=9)])
    tokens, scores = hint.generate_rows(inputs, state, requests, Shape(T))
    for row, same in enumerate((True, False, True, False)):
        assert np.array_equal(tokens[0, row, 0, :T], greedy[0][0, row]) == same
        assert (scores[0, row, 0] == greedy[1][0, row]) == same


def test_a_seed_gives_the_same_in_any_company(hint, state, inputs):
    hot = Sample(1.5)
    four, _ = hint.generate_tokens(inputs, state, T, hot, seed=3)
    assert len(np.unique(four[0], axis=0)) == 4
    mirrored, _ = hint.generate_tokens(inputs[:, ::-1], state, T, hot, seed=3)
    np.testing.assert_array_equal(mirrored[:, ::-1], four)
    longer = np.pad(inputs[:, 1:2], ((0, 0), (0, 0), (0, 4)))
    alone, _ = hint.generate_tokens(longer, state, T, hot, seed=3)
    np.testing.assert_array_equal(alone[0, 0], four[0, 1])
    other, _ = hint.generate_tokens(inputs, state, T, hot, seed=4)
    assert (other != four).any(axis=-1).all()


def test_the_first_samples_are_the_same_however_many_are_returned(hint, state, inputs):
    hot = Sample(1.5)
    three, scores = hint.generate_tokens(inputs, state, T, hot, returned=3, seed=3)
    assert three.shape == (1, 4, 3, T)
    assert scores.shape == (1, 4, 3)
    assert all(len(np.unique(of_row, axis=0)) == 3 for of_row in three[0])
    one, _ = hint.generate_tokens(inputs, state, T, hot, seed=3)
    np.testing.assert_array_equal(one, three[:, :, 0])
