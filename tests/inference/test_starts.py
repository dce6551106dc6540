"""Starts of tuning: the initial values of ordinary fine-tuning, and means."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperx.adaptation import (
    Adapter,
    LayerAdaptation,
    LowRank,
    Memory,
    Prefix,
    Scale,
    SiteParts,
)
from hyperx.inference import starts
from hyperx.task_state import TaskState


def _state(fill=3.0, prompt=True, dtype=jnp.float32):
    """Every kind of part, all values the same."""

    def full(*shape):
        return jnp.full((2, 1, *shape), fill, dtype)

    adapter = Adapter(
        full(16, 64), full(16, 64), full(16), full(64), full(64), full(64), "relu"
    )
    plain = Adapter(full(16, 64), full(16, 64), full(16), full(64))
    low_rank = {"query": LowRank(full(8, 64), full(8, 48), 2.0)}
    layer = LayerAdaptation(
        self_attention=SiteParts(
            prefix=Prefix(full(10, 4, 16), full(10, 4, 16)), low_rank=low_rank
        ),
        mlp=SiteParts(adapter=adapter, scale={"hidden": Scale(full(48))}),
    )
    return TaskState(
        layer,
        LayerAdaptation(mlp=SiteParts(adapter=plain)),
        memory=Memory(full(5, 4, 16), full(5, 4, 16), jnp.ones((1, 5), bool)),
        prompt=jnp.full((1, 6, 64), fill, dtype) if prompt else None,
        fingerprint="model",
    )


def test_random_parts_have_their_published_initial_values():
    given = _state()
    drawn = starts.random(given, jax.random.key(0))
    assert jax.tree.structure(drawn) == jax.tree.structure(given)  # scale 2, relu
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, given)

    attention, mlp = drawn.encoder.self_attention, drawn.encoder.mlp
    query = attention.low_rank["query"]
    assert not query.b.any()
    assert 0.95 / 8 < jnp.abs(query.a).max() <= 1 / 8  # uniform within 64 ** -0.5
    np.testing.assert_allclose(query.a.std(), 1 / 8 / 3**0.5, rtol=0.1)
    for array in (attention.prefix.key, attention.prefix.value):
        np.testing.assert_allclose(array.std(), 0.02, rtol=0.1)
    np.testing.assert_allclose(mlp.adapter.down.std(), 1 / 8, rtol=0.1)
    for name in ("up", "down_bias", "up_bias", "norm_bias"):
        assert not getattr(mlp.adapter, name).any()
    assert (mlp.adapter.norm_scale == 1).all()
    assert (mlp.scale["hidden"].factor == 1).all()
    assert drawn.decoder.mlp.adapter.norm_scale is None
    assert 0.45 < jnp.abs(drawn.prompt).max() <= 0.5


def test_random_parts_are_independent_and_repeatable():
    given = _state()
    first, again, other = (
        starts.random(given, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    prefix = first.encoder.self_attention.prefix
    assert (prefix.key != prefix.value).all()
    assert (prefix.key[0] != prefix.key[1]).all()  # layers
    downs = (stack.mlp.adapter.down for stack in (first.encoder, first.decoder))
    assert jnp.not_equal(*downs).all()
    assert (prefix.key != other.encoder.self_attention.prefix.key).all()


def test_random_leaves_memory_dtypes_and_absent_prompts_as_they_are():
    given = _state(prompt=False, dtype=jnp.bfloat16)
    drawn = starts.random(given, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, drawn.memory, given.memory)
    assert drawn.prompt is None
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(drawn.encoder))


def test_the_mean_is_of_parts_and_in_float32():
    """256 + 1 is no bfloat16: the sum of three must not be rounded on the way."""
    states = [_state(fill, dtype=jnp.bfloat16) for fill in (256.0, 1.0, 1.0)]
    mean = starts.mean(states)
    assert mean.memory is None
    assert mean.fingerprint == "model"
    for leaf in jax.tree.leaves(mean):
        assert leaf.dtype == jnp.bfloat16
        assert (leaf == 86.0).all()
