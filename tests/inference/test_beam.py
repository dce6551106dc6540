"""Beam search against an exhaustive one, and against one that is written plainly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import initial_params

from hyperx import config, model, sharding
from hyperx.backbone.t5 import EOS
from hyperx.inference.decoding import Beam, Greedy, Requests, beam
from hyperx.inference.decoding.running import Running
from hyperx.inference.predictor import Predictor
from hyperx.methods import plain

V, T, ROWS = 5, 3, 6
ALPHAS = (0.0, 0.6, 2.0)
# A sequence may end before its last token, or have as many tokens as there may be.
ENDED = [
    words
    for length in range(1, T + 1)
    for words in itertools.product(range(V), repeat=length)
    if EOS not in words[:-1] and (length == T or words[-1] == EOS)
]


@pytest.fixture(scope="module")
def predictor():
    backbone = config.t5_1_1("tiny", vocab_size=V, num_decoder_layers=1)
    described = model.ModelConfig(backbone=backbone, method=plain.Plain(reads="inputs"))
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        params = initial_params(described, seed=1)
    return Predictor(described, params, None, {})


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).integers(2, V, (1, ROWS, 7)).astype(np.int32)


@pytest.fixture(scope="module")
def table(predictor, inputs):
    """Log-probabilities ``[ROWS, V, V, V]`` of next tokens: after any two others."""
    prefixes = np.array(list(itertools.product(range(V), repeat=T - 1)), np.int32)
    shifted = np.pad(prefixes, ((0, 0), (1, 0)))
    tables = []
    for row in inputs[0]:
        logits = predictor.logits(np.repeat(row[None], len(shifted), 0), shifted)
        tables.append(np.asarray(jax.nn.log_softmax(logits)))
    return np.stack(tables).reshape(ROWS, V, V, T, V)


def log_probability(table, words):
    """Of words, ended or not, by one row's table."""
    total = 0.0
    for position, word in enumerate(words):
        before = (*words[:position], 0, 0)[: T - 1]
        total += table[(*before, position, word)]
    return total


def penalised(table, words, alpha):
    return log_probability(table, words) / ((5 + len(words)) / 6) ** alpha


def trimmed(row):
    """The words of a row of tokens, up to EOS."""
    row = row.tolist()
    return tuple(row[: row.index(EOS) + 1] if EOS in row else row)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("returned", [1, 9])
def test_with_a_beam_for_every_prefix_it_is_exhaustive(
    predictor, inputs, table, alpha, returned
):
    strategy = Beam(len(ENDED), alpha)
    outputs, scores = predictor.generate_tokens(
        inputs, predictor.adapt(), T, strategy, returned=returned
    )
    outputs, scores = (x.reshape(ROWS, returned, -1) for x in (outputs, scores))
    for row, said, found in zip(table, outputs, scores[..., 0], strict=True):
        best = sorted(ENDED, key=lambda words: -penalised(row, words, alpha))
        assert list(map(trimmed, said)) == best[:returned]
        expected = [log_probability(row, words) for words in best[:returned]]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def searched(table, beams, alpha):
    """The beam search of one row, by lists."""
    kept = [()]
    while any(_open(words) for words in kept):
        candidates = [words for words in kept if not _open(words)]
        for words in filter(_open, kept):
            candidates += [(*words, word) for word in range(V)]
        candidates.sort(key=lambda words: -penalised(table, words, alpha))
        kept = candidates[:beams]
    return kept


def _open(words):
    return len(words) < T and EOS not in words


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("beams", [2, 3, 7])
def test_with_few_beams_it_is_the_search_written_plainly(
    predictor, inputs, table, beams, alpha
):
    outputs, _ = predictor.generate_tokens(
        inputs, predictor.adapt(), T, Beam(beams, alpha), returned=beams
    )
    for row, said in zip(table, outputs[0], strict=True):
        assert list(map(trimmed, said)) == searched(row, beams, alpha)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_one_beam_is_greedy(predictor, inputs, alpha):
    state = predictor.adapt()
    greedy = predictor.generate_tokens(inputs, state, T, Greedy())
    one = predictor.generate_tokens(inputs, state, T, Beam(1, alpha))
    assert len(np.unique(greedy[0][0], axis=0)) > 1
    np.testing.assert_array_equal(one[0], greedy[0])
    np.testing.assert_array_equal(one[1], greedy[1])


def test_rows_do_not_depend_on_their_company(predictor, inputs):
    state = predictor.adapt()
    together, _ = predictor.generate_tokens(inputs, state, T, Beam(3), returned=3)
    for index in range(ROWS):
        alone, _ = predictor.generate_tokens(
            inputs[:, index : index + 1], state, T, Beam(3), returned=3
        )
        np.testing.assert_array_equal(alone[0, 0], together[0, index])


def test_more_outputs_than_beams_are_refused(predictor, inputs):
    with pytest.raises(ValueError, match="return 1 to 2 of 2 beams, got 3"):
        predictor.generate_tokens(inputs, predictor.adapt(), T, Beam(2), returned=3)


def running(scores, done, *, limit=8, returned=1, alpha=1.0):
    """A search of one row, of which two tokens are written."""
    scores = jnp.array([[scores]], jnp.float32)
    requests = Requests.of(Beam(2, alpha), limit, returned=returned).full(1, 1)
    return Running(
        position=jnp.int32(2),
        tokens=jnp.full((*scores.shape, 8), 3),
        lengths=jnp.full(scores.shape, 2),
        scores=scores,
        done=jnp.array([[done]]),
        caches=(),
        ancestors=jnp.zeros((*scores.shape, 8), jnp.int32),
        keys=None,
        requests=requests,
        steps=None,
        beam=True,
    )


# After a third token log-probabilities are divided by 8/6, at the limit of 8 by 13/6;
# those of the two tokens that ended by 7/6. What goes on loses nothing here.
@pytest.mark.parametrize(
    ("live", "options", "goes_on"),
    [
        (-1.8, {}, True),  # -1.8 / (13/6) = -0.83 > -1 / (7/6) = -0.857
        (-1.9, {}, False),  # -0.877
        (-1.8, dict(limit=6), False),  # -1.8 / (11/6) = -0.98
        (-1.9, dict(returned=2), True),  # one has ended, two are wanted
        (-1.1, dict(alpha=0.0), False),
        (-0.9, dict(alpha=0.0), True),
    ],
)
def test_it_stops_when_no_live_beam_can_win(live, options, goes_on):
    certain = jnp.where(jnp.arange(5) == 4, 0.0, -jnp.inf).reshape(1, 1, 1, -1)
    logits = jnp.broadcast_to(certain, (1, 1, 2, 5))
    after = beam.chosen(logits, running([-1.0, live], [True, False], **options))
    assert bool(jnp.all(after.done)) != goes_on


def test_the_penalty_is_that_of_gnmt():
    found = beam.penalty(jnp.array([1, 7, 19]), jnp.float32(0.5))
    np.testing.assert_allclose(found, [1.0, 2**0.5, 2.0], rtol=1e-6)
