"""t5x itself reads what hyperx writes, and hyperx what t5x writes."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import t5x_layout as layout
from conftest import TINY
from flax.core import freeze
from flax.linen import partitioning as flax_partitioning
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx.checkpoints.t5x import reading, writing
from hyperx.model import abstract_parameters

pytest.importorskip("t5x")
from t5x import adafactor, checkpoints, partitioning, train_state

# Heads for all eight devices, over which t5x puts its model axis.
EIGHT = dataclasses.replace(TINY, num_heads=8, head_dim=6)

AXES = {
    "token_embedder/embedding": ("vocab", "embed"),
    ".*rel_embedding": ("heads", "relpos_buckets"),
    ".*scale": ("embed",),
    ".*/wi.*kernel": ("embed", "mlp"),
    ".*/wo/kernel": ("mlp", "embed"),
    ".*/out/kernel": ("joined_kv", "embed"),
    ".*/(query|key|value)/kernel": ("embed", "joined_kv"),
    ".*/logits_dense/kernel": ("embed", "vocab"),
}


@pytest.fixture
def params():
    return layout.random_params(layout.plain(EIGHT))


@pytest.fixture
def partitioner():
    return partitioning.PjitPartitioner(
        num_partitions=1,
        logical_axis_rules=partitioning.standard_logical_axis_rules(),
    )


def variables(tree):
    axes = {
        f"{name}_axes": flax_partitioning.AxisMetadata(
            names=next(v for k, v in AXES.items() if re.fullmatch(k, name))
        )
        for name in tree
    }
    arrays = {name: jnp.asarray(array) for name, array in tree.items()}
    return freeze(
        {
            "params": unflatten_dict(arrays, sep="/"),
            "params_axes": unflatten_dict(axes, sep="/"),
        }
    )


def train_state_of(params):
    optimizer = adafactor.Adafactor(
        learning_rate=1e-3,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    tree = variables(layout.unrolled(params))
    state = train_state.FlaxOptimTrainState.create(optimizer, tree)
    return state.replace_step(jnp.int32(5))


def assert_same_bits(left, right):
    left, right = flatten_dict(left, sep="/"), flatten_dict(right, sep="/")
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert np.asarray(array).tobytes() == np.asarray(right[name]).tobytes(), name


def read(directory, dtype):
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)),
        abstract_parameters(layout.plain(EIGHT)).shapes,
    )
    return reading.read(reading.open_checkpoint(directory), shapes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_t5x_reads_what_is_written(tmp_path, params, dtype):
    writing.write(tmp_path / "checkpoint_12", params, step=12, dtype=dtype)
    state = checkpoints.load_t5x_checkpoint(str(tmp_path / "checkpoint_12"))
    assert state["state"]["step"] == 12
    expected = jax.tree.map(lambda array: array.astype(dtype), params)
    tree = unflatten_dict(layout.unrolled(expected), sep="/")
    assert_same_bits(state["target"], tree)


def test_t5x_restores_what_is_written(tmp_path, params, partitioner):
    writing.write(tmp_path / "checkpoint_12", params, step=12)
    zeros = jax.tree.map(np.zeros_like, layout.unrolled(params))
    state = train_state.InferenceState.create(variables(zeros))
    legacy = checkpoints.Checkpointer(state, partitioner, str(tmp_path))
    restored = legacy.restore(step=12)
    assert restored.step == 12
    tree = unflatten_dict(layout.unrolled(params), sep="/")
    assert_same_bits(restored.params, tree)
    manager = checkpoints.OrbaxCheckpointManagerInterface(
        str(tmp_path), state, partitioner
    )
    path = str(tmp_path / "checkpoint_12")
    assert_same_bits(manager.restore(path=path).params, tree)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_t5x_writes_is_read(tmp_path, params, partitioner, dtype):
    state = train_state_of(params)
    legacy = checkpoints.Checkpointer(
        state, partitioner, str(tmp_path), save_dtype=jnp.dtype(dtype)
    )
    legacy.save(state)
    expected = jax.tree.map(lambda array: array.astype(dtype), params)
    assert_same_bits(read(tmp_path / "checkpoint_5", dtype), expected)


def test_what_t5x_writes_through_orbax_is_read(tmp_path, params, partitioner):
    state = train_state_of(params)
    manager = checkpoints.OrbaxCheckpointManagerInterface(
        str(tmp_path), state, partitioner
    )
    manager.save(state)
    manager.close()
    assert_same_bits(read(tmp_path / "checkpoint_5", "float32"), params)
