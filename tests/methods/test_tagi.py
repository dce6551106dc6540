"""TAGI: counts, where it starts, and what generated updates do to projections."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.traverse_util import flatten_dict

from hyperx import config, model
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods.plain import Plain
from hyperx.methods.tagi import Tagi
from hyperx.optim import freezing
from hyperx.runs import configuration


def tiny(**fields) -> model.ModelConfig:
    return model.ModelConfig(backbone=TINY, method=Tagi(**dict(rank=3) | fields))


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def without_hypernetwork(params):
    return {name: tree for name, tree in params.items() if name != "hypernetwork"}


def moved(full: model.ModelConfig):
    """Parameters whose updates are no longer zero."""
    params = initial_params(full)
    generator = {
        name: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
        for name, leaf in params["hypernetwork"]["generator"].items()
    }
    return params | {"hypernetwork": {"generator": generator}}


@pytest.mark.parametrize("width", [None, 96])
def test_counts(width):
    backbone = config.t5_1_1("small", num_decoder_layers=5)
    full = model.ModelConfig(backbone=backbone, method=Tagi(head_width=width))
    shapes = model.abstract_parameters(full).shapes["hypernetwork"]
    embed, joined, hidden = 512, 384, width or 512
    # A query for each unit of each factor of two projections of every attention.
    queries = (8 + 2 * 5) * 2 * 2 * 32 * embed
    heads = 4 * embed * hidden + 2 * hidden * (embed + joined)
    expected = queries + 4 * embed * joined + heads
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.usefixtures("mesh")
class TestStart:
    def test_without_fusion_it_is_plain_t5(self):
        full, batch = tiny(fusion=False), random_batch()
        params = initial_params(full)
        plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
        own = {k: v for k, v in batch.items() if k != "condition_tokens"}
        expected = logits_of(plain, without_hypernetwork(params), own)
        np.testing.assert_array_equal(logits_of(full, params, batch), expected)
        assert not np.allclose(logits_of(full, moved(full), batch), expected)

    def test_with_fusion_it_is_fusion_alone(self):
        full, batch = tiny(), random_batch()
        params = initial_params(full)
        fusion = tiny_hint(bottleneck=0, prefix_length=0)
        expected = logits_of(fusion, without_hypernetwork(params), batch)
        np.testing.assert_array_equal(logits_of(full, params, batch), expected)

    def test_only_last_factors_are_zero(self):
        generator = initial_params(tiny())["hypernetwork"]["generator"]
        zero = {name for name, leaf in generator.items() if not np.any(leaf)}
        assert zero == {"head_low_rank_query_b_wo", "head_low_rank_value_b_wo"}


@pytest.mark.usefixtures("mesh")
class TestUpdates:
    def test_generated_inside_equals_beforehand(self):
        full, batch = tiny(), random_batch()
        params, module = moved(full), full.build()

        @jax.jit
        def beforehand(params):
            state = module.apply(
                {"params": params}, batch["condition_tokens"], method="adapt"
            )
            logits = module.apply(
                {"params": params}, batch, Conditioning.of(state), method="forward"
            )
            return logits, state

        logits, state = beforehand(params)
        np.testing.assert_allclose(logits_of(full, params, batch), logits, atol=1e-5)
        sites = (state.decoder.self_attention, state.decoder.cross_attention)
        for site in (state.encoder.self_attention, *sites):
            assert set(site.low_rank) == {"query", "value"}
            assert site.low_rank["query"].a.shape[1:] == (4, 3, 32)
            assert site.low_rank["query"].b.shape[1:] == (4, 3, 48)

    def test_updates_are_added_to_kernels(self):
        """A state's update of every kernel, merged by hand, is the adapted model."""
        full, batch = tiny(fusion=False), random_batch(groups=1)
        params, module = moved(full), full.build()
        state = jax.jit(
            lambda p: module.apply(
                {"params": p}, batch["condition_tokens"], method="adapt"
            )
        )(params)
        flat = flatten_dict(without_hypernetwork(params), sep="/")
        for path, site in (
            ("encoder/layers/attention", state.encoder.self_attention),
            ("decoder/layers/self_attention", state.decoder.self_attention),
            ("decoder/layers/encoder_decoder_attention", state.decoder.cross_attention),
        ):
            for name, update in site.low_rank.items():
                product = np.einsum("lgni,lgno->lio", update.a, update.b)
                flat[f"{path}/{name}/kernel"] += product
        merged = {}
        for path, leaf in flat.items():
            *parents, last = path.split("/")
            node = merged
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = jnp.asarray(leaf)
        plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
        own = {k: v for k, v in batch.items() if k != "condition_tokens"}
        np.testing.assert_allclose(
            logits_of(full, params, batch), logits_of(plain, merged, own), atol=2e-5
        )


def test_what_the_gin_file_trains():
    configuration.parse(["runs/toyworld.gin", "methods/tagi.gin"], ["MODEL_DIR = 'o'"])
    shapes = model.abstract_parameters(tiny()).shapes
    trained, _ = freezing.split(shapes, configuration.macro("FROZEN"))
    names = set(flatten_dict(without_hypernetwork(trained), sep="/"))
    assert {name.rsplit("/", 1)[1] for name in names} == {"embedding", "scale"}
    assert trained["hypernetwork"] == shapes["hypernetwork"]


def test_rank_is_checked():
    with pytest.raises(ValueError, match="expected a rank of at least 1, got 0"):
        Tagi(rank=0)
