"""Meshes: where arrays lie, and that it changes nothing but that."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, random_batch, tiny_hint
from jax.sharding import NamedSharding, PartitionSpec

from hyperx import adaptation, config, sharding
from hyperx.optim.adafactor import Adafactor
from hyperx.runs.state import Recipe, initial
from hyperx.runs.step import make_step

STEPS = 3


@pytest.fixture(scope="module")
def one():
    return sharding.make_mesh(1, 1, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def two_by_four():
    return sharding.make_mesh(2, 4)


def train(mesh):
    """States and losses of a few steps of HINT, dropout on."""
    dropping = config.T5Config(**(vars(TINY) | {"dropout_rate": 0.1}))
    recipe = Recipe(
        tiny_hint(dropping),
        Adafactor(learning_rate=1e-3, min_dim_size_to_factor=16),
    )
    abstract = recipe.abstract(mesh)
    state = initial(recipe, abstract, mesh, seed=0)
    batch = random_batch()
    batch = jax.device_put(batch, sharding.batch_shardings(batch, mesh))
    step = jax.jit(make_step(recipe, dropout=True))
    states, losses = [state], []
    with sharding.use(mesh):
        for _ in range(STEPS):
            state, metrics = step(state, batch, jax.random.key(1))
            states.append(state)
            losses.append(float(metrics["loss"]))
    return abstract, states, losses


@pytest.fixture(scope="module")
def spread(two_by_four):
    return train(two_by_four)


def test_training_is_the_same_on_one_device_and_on_eight(one, spread):
    _, expected, expected_losses = train(one)
    _, got, losses = spread
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert len(set(losses)) == STEPS
    for before, after in ((got[0], expected[0]), (got[-1], expected[-1])):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-5),
            jax.device_get(before),
            jax.device_get(after),
        )


def test_a_state_stays_where_it_is_declared_to_lie(spread):
    abstract, states, _ = spread
    for state in (states[0], states[-1]):
        for (path, leaf), wanted in zip(
            jax.tree_util.tree_leaves_with_path(state),
            jax.tree.leaves(abstract),
            strict=True,
        ):
            assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), path
    declared = jax.tree.leaves(jax.tree.map(lambda leaf: leaf.sharding.spec, abstract))
    assert any("model" in spec for spec in declared)


def test_generated_weights_lie_where_they_are_declared_to_lie(two_by_four, spread):
    module, params = tiny_hint().build(), spread[1][0].params
    tokens = random_batch()["condition_tokens"]
    tokens = jax.device_put(tokens, NamedSharding(two_by_four, PartitionSpec("data")))
    with sharding.use(two_by_four):
        state = jax.jit(
            lambda params, tokens: module.apply(
                {"params": params}, tokens, method="adapt"
            )
        )(params, tokens)
    parts = (state.encoder, state.decoder)
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    names = jax.tree.structure(parts).flatten_up_to(tuple(map(adaptation.axes, parts)))
    for (path, leaf), own in zip(leaves, names, strict=True):
        declared = NamedSharding(two_by_four, sharding.spec(own))
        assert tuple(declared.spec)[:2] == (None, "data"), path
        assert leaf.sharding.is_equivalent_to(declared, leaf.ndim), path
        split_over_model = bool({"heads", "bottleneck"} & set(own))
        assert ("model" in declared.spec) == split_over_model, path
        parts_held = 8 if split_over_model else 2
        assert leaf.addressable_shards[0].data.size * parts_held == leaf.size, path
    assert len(leaves) == 4 * 2 + 2 * 3  # adapters in two stacks, three attentions


def test_groups_that_do_not_divide_are_refused(two_by_four):
    module = tiny_hint().build()
    batch = random_batch(groups=3)
    with (
        sharding.use(two_by_four),
        pytest.raises(ValueError, match="'task' to divide by 2 .*got size 3"),
    ):
        jax.eval_shape(lambda: module.init(jax.random.key(0), batch))
    sharding.check_groups(4, two_by_four, micro_batches=2)
    for groups, micro_batches in ((3, 1), (6, 2), (1, 1)):
        with pytest.raises(
            ValueError, match=rf"2 \(data axis .*{micro_batches} \(M.*got {groups}"
        ):
            sharding.check_groups(groups, two_by_four, micro_batches)


def test_constrain_places_and_leaves_broadcasts_whole(two_by_four):
    constrain = jax.jit(sharding.constrain, static_argnums=1)
    with sharding.use(two_by_four):
        split = constrain(jnp.zeros((2, 3, 8)), ("task", None, "heads"))
        whole = constrain(jnp.zeros((1, 3, 1)), ("task", None, "heads"))
    assert split.sharding.spec == PartitionSpec("data", None, "model")
    assert whole.sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("shape", "names", "error"),
    [
        ((2, 8), ("task",), "expected 2 axis names for (2, 8), got ('task',)"),
        ((2, 8), ("task", "haeds"), "expected a logical axis among"),
        ((2, 6), ("task", "heads"), "'heads' to divide by 4 (model axis of the mesh)"),
    ],
)
def test_misuse_of_constrain(two_by_four, shape, names, error):
    with sharding.use(two_by_four), pytest.raises(ValueError, match=re.escape(error)):
        sharding.constrain(jnp.zeros(shape), names)


def test_constrain_needs_a_mesh():
    with pytest.raises(RuntimeError, match="expected an ambient mesh, got none"):
        sharding.constrain(jnp.zeros(2), ("task",))


def test_a_mesh_uses_all_devices():
    assert dict(sharding.make_mesh(model=2).shape) == {"data": 4, "model": 2}
    with pytest.raises(ValueError, match=r"== 8 devices, got 3 \* 2"):
        sharding.make_mesh(3, 2)
