"""Decoding: what is kept equals what is computed anew, whatever the strategy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, tiny_hint

from hyperx import model, sharding
from hyperx.backbone import steps
from hyperx.backbone.t5 import EOS, PAD
from hyperx.inference.decoding import Beam, Greedy, Requests, Sample, loop
from hyperx.inference.predictor import Predictor
from hyperx.methods import hyperdecoders, hyperformer, lora, prompt_tuning

G, R, T = 2, 3, 6
METHODS = {
    "hint": tiny_hint().method,
    "hyperdecoders": hyperdecoders.Hyperdecoders(),  # rows become groups
    "lora": lora.Lora(),
    "prompt": prompt_tuning.PromptTuning(length=3),
    "tasks": hyperformer.HyperFormer(tasks=("a", "b", "c")),
}
STRATEGIES = {
    "greedy": (Greedy(), 1),
    "beam": (Beam(3), 2),
    "sample": (Sample(1.5, top_k=20, top_p=0.9), 3),
}


def tokens(seed, *shape, low=2, high=TINY.vocab_size):
    """Tokens of rows of different lengths."""
    random = np.random.default_rng(seed)
    values = random.integers(low, high, shape)
    lengths = random.integers(2, shape[-1] + 1, (*shape[:-1], 1))
    return np.where(np.arange(shape[-1]) < lengths, values, PAD).astype(np.int32)


def conditions(config, groups=G):
    match config.method.reads:
        case "condition":
            return tokens(3, groups, 9)
        case "task":
            return np.arange(groups, dtype=np.int32)[:, None]


@pytest.fixture(scope="module", params=METHODS)
def predictor(request):
    config = model.ModelConfig(backbone=TINY, method=METHODS[request.param])
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        # All parts do something, and outputs differ.
        params = jax.tree.map(
            lambda x: x + 0.05 * jnp.sin(jnp.arange(x.size)).reshape(x.shape),
            initial_params(config),
        )
    return Predictor(config, params, None, {})


@pytest.fixture(scope="module")
def state(predictor):
    return predictor.adapt_tokens(conditions(predictor.config))


def teacher_forced(predictor, state, inputs, outputs):
    """Log-probabilities ``[G, R, T, V]`` of every token given those before it."""
    shifted = np.pad(outputs[..., :-1], ((0, 0), (0, 0), (1, 0)))
    batch = {"encoder_tokens": inputs, "decoder_input_tokens": shifted}
    with sharding.use(predictor.mesh):
        logits = predictor._programs.logits(predictor.params, batch, state)
    return np.asarray(jax.nn.log_softmax(logits))


def alive(outputs):
    """Where outputs have tokens, EOS included."""
    ended = np.cumsum(outputs == EOS, axis=-1) - (outputs == EOS)
    return ended == 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_cached_decoding_equals_teacher_forcing(predictor, state, name):
    strategy, returned = STRATEGIES[name]
    inputs = tokens(0, G, R, 7)
    outputs, scores = predictor.generate_tokens(
        inputs, state, T, strategy, returned=returned, seed=5
    )
    shape = (G, R, returned, T)
    outputs, scores = outputs.reshape(shape), scores.reshape(shape[:-1])
    assert len(np.unique(outputs)) > 5
    for one in range(returned):
        said = outputs[:, :, one]
        table = teacher_forced(predictor, state, inputs, said)
        live = alive(said)
        assert not said[~live].any()
        chosen = np.take_along_axis(table, said[..., None], -1)[..., 0]
        expected = np.where(live, chosen, 0.0).sum(-1)
        np.testing.assert_allclose(scores[:, :, one], expected, atol=1e-4)
        if name == "greedy":
            np.testing.assert_array_equal(said[live], table.argmax(-1)[live])


@pytest.mark.parametrize("name", STRATEGIES)
def test_paused_decoding_equals_unbroken(predictor, state, name):
    strategy, returned = STRATEGIES[name]
    inputs = tokens(1, G, R, 7)
    expected = predictor.generate_tokens(
        inputs, state, T, strategy, returned=returned, seed=5
    )
    requests = Requests.of(strategy, T, returned=returned, seed=5).full(G, R)
    running = predictor.begin(inputs, state, requests, strategy.shape(T, returned))
    for count in (1, 3, 50):
        running = predictor.advance(running, count)
    said = np.asarray(running.tokens)[:G, :R, :returned, :T].reshape(expected[0].shape)
    np.testing.assert_array_equal(said, expected[0])
    scores = np.asarray(running.scores)[:G, :R, :returned].reshape(expected[1].shape)
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_several_devices_decode_the_same(groups):
    config = tiny_hint()
    meshes = [
        sharding.make_mesh(1, 1, devices=jax.devices()[:1]),
        sharding.make_mesh(2, 1, 2, devices=jax.devices()[:4]),
    ]
    found = []
    for one in meshes:
        with sharding.use(one):
            params = initial_params(config)
        predictor = Predictor(config, params, None, {}, one)
        state = predictor.adapt_tokens(conditions(config, groups))
        inputs = tokens(0, groups, R, 7)
        found.append(predictor.generate_tokens(inputs, state, T, Beam(3), returned=2))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


# Sizes of which no other is a multiple tell what an array holds.
SIZES = dict(vocab_size=61, embed_dim=32, num_heads=5, head_dim=7, mlp_dim=48)
CONDITION, INPUT, BEAMS, BOTTLENECK, PREFIX = 17, 19, 3, 11, 13


def test_nothing_is_copied_over_hypotheses_or_rows(mesh):
    """Neither generated weights, nor the task's memory, nor the input's."""
    backbone = TINY.__class__(**{**vars(TINY), **SIZES})
    config = tiny_hint(backbone, bottleneck=BOTTLENECK, prefix_length=PREFIX)
    shapes = shapes_of_decoding(config, Beam(BEAMS))
    layers, keys = backbone.num_decoder_layers, 5 * 7
    largest = {
        BOTTLENECK: layers * G * BOTTLENECK * 32,
        PREFIX: layers * G * PREFIX * keys,
        CONDITION: layers * G * CONDITION * keys,
        INPUT: layers * G * R * INPUT * max(keys, 48),
    }
    for size, allowed in largest.items():
        found = [shape for shape in shapes if size in shape and weighty(shape)]
        assert found
        assert max(map(np.prod, found)) <= allowed, (size, found)


def test_a_copy_would_be_seen(mesh):
    shapes = traced_shapes(lambda x: jnp.repeat(x, BEAMS, 0), jnp.zeros((2, 5, 7, 19)))
    assert max(map(np.prod, filter(weighty, shapes))) == BEAMS * 2 * 5 * 7 * 19


def weighty(shape):
    """Whether an array holds weights or keys; others have few numbers per position."""
    return 7 in shape or (32 in shape and BOTTLENECK in shape)


def shapes_of_decoding(config, strategy):
    """Shapes of all that a step reads or writes, and of all that precedes it."""
    module = config.build()
    params = model.abstract_parameters(config).shapes
    state = model.abstract_state(config, CONDITION)
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state).broadcast(G)
    requests = Requests.of(strategy, T).full(G, R)
    inputs = jnp.ones((G, R, INPUT), jnp.int32)

    def decode(params, state):
        weights = steps.weights_of(config.backbone, params)
        arguments = (weights, inputs, state, requests, strategy.shape(T))
        return loop.generate(module, params, *arguments)

    return traced_shapes(decode, params, state)


def traced_shapes(fn, *arguments):
    """Shapes of all arrays of a traced program, those inside of loops too."""
    return set(_shapes(jax.make_jaxpr(fn)(*arguments).jaxpr))


def _shapes(jaxpr):
    for equation in jaxpr.eqns:
        for value in (*equation.invars, *equation.outvars):
            yield value.aval.shape
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _shapes(inner)
