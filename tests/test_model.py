"""What must hold for a model as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint

from hyperx import model, sharding
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods import plain
from hyperx.objectives import objective

pytestmark = pytest.mark.usefixtures("mesh")


@pytest.fixture
def hint():
    config = tiny_hint()
    return config.build(), initial_params(config)


@functools.partial(jax.jit, static_argnums=0)
def logits(module, params, batch):
    return module.apply({"params": params}, batch)


@functools.partial(jax.jit, static_argnums=(0, 4))
def loss(module, params, batch, key, z_loss=0.0):
    return objective.loss(module, params, batch, key, z_loss=z_loss)[0]


def test_padding_of_condition_and_input_changes_nothing(hint):
    batch = random_batch()
    wide = dict(batch)
    for name in ("condition_tokens", "encoder_tokens"):
        width = [(0, 0)] * (batch[name].ndim - 1) + [(0, 9)]
        wide[name] = jnp.pad(batch[name], width)
    np.testing.assert_allclose(logits(*hint, batch), logits(*hint, wide), atol=1e-5)


def test_per_task_equals_per_row_generation(hint):
    """G conditions x R rows = G * R conditions x 1 row."""
    batch = random_batch(groups=3, rows=2)
    single = {
        name: jnp.repeat(array, 2, axis=0)
        if name == "condition_tokens"
        else array.reshape(6, 1, *array.shape[2:])
        for name, array in batch.items()
    }
    grouped = logits(*hint, batch)
    np.testing.assert_allclose(
        grouped, logits(*hint, single).reshape(grouped.shape), atol=1e-5
    )


def test_rows_and_groups_do_not_interfere(hint):
    """Permuting groups and rows permutes the result."""
    batch = random_batch(groups=3, rows=2)
    order = jnp.array([2, 0, 1])
    permuted = {
        name: array[order] if name == "condition_tokens" else array[order][:, ::-1]
        for name, array in batch.items()
    }
    np.testing.assert_allclose(
        logits(*hint, permuted), logits(*hint, batch)[order][:, ::-1], atol=1e-5
    )


def test_decoder_is_causal_by_gradients(hint):
    module, params = hint
    batch = random_batch(groups=1, rows=1, padded=False)

    @jax.jit
    def at(embedding, position):
        changed = params | {"token_embedder": {"embedding": embedding}}
        return logits(module, changed, batch)[0, 0, position].sum()

    # The token at position 3 alone has this id, so only it moves with this embedding.
    own = 63
    batch["decoder_input_tokens"] = jnp.array([[[0, 5, 6, own, 7]]])
    for name in ("condition_tokens", "encoder_tokens"):
        batch[name] = jnp.where(batch[name] == own, 2, batch[name])
    for position, reached in enumerate([False, False, False, True, True]):
        grads = jax.grad(at)(params["token_embedder"]["embedding"], position)
        assert bool(jnp.any(grads[own] != 0)) == reached


def test_every_parameter_receives_a_gradient(hint):
    module, params = hint
    grads = jax.grad(lambda p: loss(module, p, random_batch(), None))(params)
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(leaf)
    ]
    assert dead == []


def test_encoder_reads_the_condition_unadapted(hint):
    """The hyperencoder ignores what it generates: its code is the plain encoding."""
    module, params = hint
    batch = random_batch()
    plain_params = {k: v for k, v in params.items() if k != "hypernetwork"}
    unadapted = model.ModelConfig(backbone=TINY, method=plain.Plain()).build()
    tokens = batch["condition_tokens"]
    expected = jax.jit(
        lambda p: unadapted.apply(
            {"params": p}, tokens[:, None], Conditioning(), method="encode"
        )[0]
    )(plain_params)
    got = jax.jit(
        lambda p: module.apply({"params": p}, tokens, method="condition").memory
    )(params)
    mask = np.asarray(got.mask)
    np.testing.assert_allclose(got.hidden[mask], expected.hidden[:, 0][mask], atol=1e-6)
    assert not np.any(got.hidden[~mask])


def test_sums_over_micro_batches_equal_the_batch(hint):
    batch = random_batch(groups=4)
    halves = [{k: v[i : i + 2] for k, v in batch.items()} for i in (0, 2)]
    whole = loss(*hint, batch, None, 0.01)
    parts = [loss(*hint, half, None, 0.01) for half in halves]
    np.testing.assert_allclose(whole, parts[0] + parts[1], rtol=1e-5)


def test_dropout_needs_a_key_and_differs_by_it():
    config = tiny_hint(TINY.__class__(**(vars(TINY) | {"dropout_rate": 0.5})))
    module, params, batch = config.build(), initial_params(config), random_batch()
    keys = [None, None, *(jax.random.key(seed) for seed in (0, 0, 1))]
    off, again, first, same, other = (
        float(loss(module, params, batch, key)) for key in keys
    )
    assert off == again
    assert first == same
    assert len({off, first, other}) == 3


def test_condition_must_fit_the_model(hint):
    module, params = hint
    batch = {k: v for k, v in random_batch().items() if k != "condition_tokens"}
    with pytest.raises(ValueError, match="expected condition tokens"):
        logits(module, params, batch)


def test_description_round_trip():
    for config in (
        tiny_hint(fusion=False),
        model.ModelConfig(backbone=TINY, method=plain.Plain(reads="inputs")),
    ):
        assert model.ModelConfig.from_json(config.to_json()) == config


def test_abstract_parameters_equal_real_ones(hint):
    _, params = hint
    abstract = model.abstract_parameters(tiny_hint())
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
    assert shapes == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), abstract.shapes
    )
    jax.tree.map(lambda leaf, names: sharding.spec(names), params, abstract.axes)
