"""All choices of an input at once equal each alone, for one encoding of the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, tiny_hint

from hyperx import costs, model, sharding
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.inference import scoring
from hyperx.inference.predictor import Predictor
from hyperx.methods import hyperdecoders, plain

G, R, C, T = 2, 3, 4, 6
CONFIGS = {
    "hint": tiny_hint(),
    # Writes a decoder for every row: its groups are not those of the batch.
    "hyperdecoders": model.ModelConfig(
        backbone=TINY, method=hyperdecoders.Hyperdecoders()
    ),
    "plain": model.ModelConfig(backbone=TINY, method=plain.Plain()),
}


@pytest.fixture(scope="module", params=CONFIGS)
def predictor(request):
    config = CONFIGS[request.param]
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        return Predictor(config, initial_params(config), None, {})


def tokens(seed, *shape):
    """Rows of tokens of different lengths, each with its end, padded."""
    random = np.random.default_rng(seed)
    values = random.integers(2, TINY.vocab_size, shape)
    lengths = random.integers(1, shape[-1], (*shape[:-1], 1))
    positions = np.arange(shape[-1])
    values = np.where(positions < lengths, values, 0)
    return np.where(positions == lengths, 1, values).astype(np.int32)


def state_of(predictor, groups=G):
    conditioned = predictor.conditioned
    return predictor.adapt_tokens(tokens(3, groups, 9) if conditioned else None)


def test_all_at_once_equal_each_alone(predictor):
    inputs, choices, state = tokens(0, G, R, 7), tokens(1, G, R, C, T), None
    state = state_of(predictor)
    found = predictor.score_tokens(inputs, choices, state)
    assert found.shape == (G, R, C)
    assert found.dtype == np.float32
    for choice in range(C):
        targets = choices[:, :, choice]
        batch = {
            "encoder_tokens": inputs,
            "decoder_input_tokens": np.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0))),
        }
        with sharding.use(predictor.mesh):
            logits = predictor._programs.logits(predictor.params, batch, state)
        each = jax.nn.log_softmax(np.asarray(logits))
        each = np.take_along_axis(np.asarray(each), targets[..., None], -1)[..., 0]
        expected = (each * (targets != 0)).sum(-1)
        np.testing.assert_allclose(found[..., choice], expected, rtol=1e-5, atol=1e-5)


def test_padding_of_any_axis_changes_nothing(predictor):
    inputs, choices = tokens(0, G, R, 7), tokens(1, G, R, C, T)
    state = state_of(predictor)
    expected = predictor.score_tokens(inputs, choices, state)
    widths = [(0, 0), (0, 2), (0, 3), (0, 11)]
    padded = predictor.score_tokens(
        np.pad(inputs, [(0, 0), (0, 2), (0, 9)]), np.pad(choices, widths), state
    )
    np.testing.assert_allclose(padded[:, :R, :C], expected, rtol=1e-5, atol=1e-5)
    assert not padded[:, :, C:].any()
    one = predictor.score_tokens(inputs[:, :1], choices[:, :1, :1], state)
    np.testing.assert_allclose(one, expected[:, :1, :1], rtol=1e-5, atol=1e-5)


def test_of_decoded_tokens_it_is_the_score_of_decoding(predictor):
    inputs, state = tokens(0, G, R, 7), state_of(predictor)
    said, scores = predictor.generate_tokens(inputs, state, T)
    found = predictor.score_tokens(inputs, said[:, :, None], state)
    np.testing.assert_allclose(found[..., 0], scores, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoder_works_once_however_many_choices(name, mesh):
    config = CONFIGS[name]
    module, params = config.build(), model.abstract_parameters(config).shapes
    state = model.abstract_state(config, 9)

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, jnp.int32)

    def start(params, inputs, state):
        conditioning = Conditioning.of(state)
        variables = {"params": params}
        return module.apply(variables, inputs, conditioning, method="start")

    def decode(params, targets, conditioning, encoded):
        return module.apply(
            {"params": params}, targets, conditioning, encoded, method="decode"
        )

    def score(params, inputs, choices, state):
        return scoring.log_probabilities(module, params, inputs, choices, state)

    inputs = shape(1, R, 7)
    once = costs.flops(start, params, inputs, state)
    encoded, conditioning = jax.eval_shape(start, params, inputs, state)
    each = costs.flops(decode, params, shape(1, R, T), conditioning, encoded)
    assert once > each / 2
    for count in (1, 2, 7):
        found = costs.flops(score, params, inputs, shape(1, R, count, T), state)
        assert found == once + count * each
