"""Zhyper: counts, what depends on the task, and one layer in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch
from text_reference import (
    SIZES,
    head_inputs,
    logits_of,
    moved,
    state_of,
    text_of,
    trunk_size,
)

from hyperx import config, model
from hyperx.methods.plain import Plain
from hyperx.methods.zhyper import Zhyper


def tiny(**fields) -> model.ModelConfig:
    return model.ModelConfig(backbone=TINY, method=Zhyper(**SIZES | fields))


def updates_of(stacks):
    """Every update of a state with the stem of its factors' names."""
    for stack in ("encoder", "decoder"):
        for site in ("self_attention", "cross_attention"):
            low_rank = getattr(getattr(stacks, stack), site).low_rank
            for name, update in low_rank.items():
                yield f"{stack}_{site}_{name}", update


def test_counts():
    backbone = config.t5_1_1("small", num_decoder_layers=5)
    full = model.ModelConfig(backbone=backbone, method=Zhyper())
    shapes = model.abstract_parameters(full).shapes["hypernetwork"]
    modules = 2 * (8 + 2 * 5)  # projections of all attentions
    heads = 2 * (512 * 8 + 8)
    expected = trunk_size(512, 8 + 5, 6, 128, 512) + heads + modules * 8 * (512 + 384)
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.usefixtures("mesh")
class TestModulation:
    def test_starts_as_plain_t5(self):
        full, batch = tiny(), random_batch()
        params = initial_params(full)
        own = {k: v for k, v in batch.items() if k != "condition_tokens"}
        plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
        backbone = {k: v for k, v in params.items() if k != "hypernetwork"}
        expected = logits_of(plain, backbone, own)
        np.testing.assert_array_equal(logits_of(full, params, batch), expected)
        assert not np.allclose(logits_of(full, moved(params), batch), expected)

    def test_z_starts_around_one(self):
        full, batch = tiny(rank=64, head_width=32), random_batch()
        params = initial_params(full)
        generator = dict(params["hypernetwork"]["generator"])
        for name in list(generator):
            if name.endswith("_attention_query_b"):
                generator[name] = jnp.ones_like(generator[name])
        params = params | {"hypernetwork": {"generator": generator}}
        for name, update in updates_of(state_of(full, params, batch)):
            z = update.b[..., 0]  # of a last factor that is 1
            if name.endswith("query"):
                assert abs(np.mean(z) - 1) < 0.1
                assert 0.02 < np.std(z) < 0.6
            else:
                assert not np.any(update.b)

    def test_a_task_is_a_number_for_each_unit(self):
        """That is rank * projections * attentions, whatever the state's size."""
        full, batch = tiny(), random_batch()
        params = moved(initial_params(full))
        generator, numbers = params["hypernetwork"]["generator"], 0
        for name, update in updates_of(state_of(full, params, batch)):
            a, b = generator[f"{name}_a"], generator[f"{name}_b"]
            np.testing.assert_array_equal(update.a, np.stack([a] * 4, axis=1))
            z = np.sum(update.b * b[:, None], -1) / np.sum(b * b, -1)[:, None]
            np.testing.assert_allclose(
                update.b, z[..., None] * b[:, None], rtol=1e-4, atol=1e-4
            )
            assert np.std(z, axis=1).min() > 0.0  # it differs from task to task
            numbers += z[:, 0].size
        assert numbers == 3 * 2 * (2 + 2 * 3)

    def test_one_layer_in_numpy(self):
        full, batch = tiny(), random_batch()
        params = moved(initial_params(full))
        generator = jax.tree.map(np.asarray, params["hypernetwork"]["generator"])
        text = text_of(full, params, batch)
        # Layer 1 of the encoder, its query projection; 1 of the decoder, cross, value.
        state = dict(updates_of(state_of(full, params, batch)))
        for name, layer, module in (
            ("encoder_self_attention_query", 1, 0),
            ("decoder_cross_attention_value", 2 + 1, 5),
        ):
            inputs = head_inputs(generator["trunk"], "L", text, layer, module)
            head = f"head_{name.rsplit('_', 1)[1]}"
            z = inputs @ generator[head] + generator[f"{head}_bias"]
            expected = z[..., None] * generator[f"{name}_b"][1]
            np.testing.assert_allclose(state[name].b[1], expected, rtol=2e-4, atol=2e-4)
            assert state[name].scale == 16 / math.sqrt(3)

    def test_padding_changes_nothing(self):
        full, batch = tiny(), random_batch()
        params, tokens = moved(initial_params(full)), batch["condition_tokens"]
        wide = batch | {"condition_tokens": jnp.pad(tokens, ((0, 0), (0, 6)))}
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
            state_of(full, params, batch),
            state_of(full, params, wide),
        )
