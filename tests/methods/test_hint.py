"""HINT: published counts, names, and the quirks of its code."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.traverse_util import flatten_dict

from hyperx import config, model
from hyperx.methods.hint import Hint, Quirks
from hyperx.objectives import objective
from hyperx.runs.state import sources


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("size", "bottleneck", "published", "default"),
    [
        # Queries (S * C * D), attention (4 D^2) and six heads, summed by hand.
        ("base", 64, 14_149_632, 12_951_552),
        ("xl", 512, 224_100_352, 173_670_400),
        ("xxl", 512, 574_029_824, 473_169_920),
    ],
)
def test_parameter_counts(size, bottleneck, published, default):
    for unused, expected in ((True, published), (False, default)):
        method = Hint(
            bottleneck=bottleneck,
            prefix_length=30,
            quirks=Quirks(unused_cross_adapters=unused),
        )
        full = model.ModelConfig(backbone=config.t5_1_1(size), method=method)
        shapes = model.abstract_parameters(full).shapes
        assert count(shapes["hypernetwork"]) == expected


def test_parameter_names():
    names = set(flatten_dict(model.abstract_parameters(tiny_hint()).shapes, sep="/"))
    attention = [
        f"attention/{name}/kernel" for name in ("query", "key", "value", "out")
    ]
    mlp = [f"mlp/{name}/kernel" for name in ("wi_0", "wi_1", "wo")]
    encoder = ["pre_attention_layer_norm/scale", "pre_mlp_layer_norm/scale"]
    decoder = [
        "pre_self_attention_layer_norm/scale",
        "pre_cross_attention_layer_norm/scale",
        "pre_mlp_layer_norm/scale",
        *(f"self_{name}" for name in attention),
        *(f"encoder_decoder_{name}" for name in attention),
    ]
    adapter = ["adapter_down", "adapter_up", "adapter_down_bias", "adapter_up_bias"]
    kinds = [*adapter, "prefix_key", "prefix_value"]
    generator = [
        *(
            f"{stack}_queries_{kind}"
            for stack in ("encoder", "decoder")
            for kind in kinds
        ),
        *(f"attention_{name}" for name in ("query", "key", "value", "out")),
        *(f"head_{kind}_{layer}" for kind in kinds for layer in ("wi", "wo")),
    ]
    assert names == {
        "token_embedder/embedding",
        *(f"encoder/layers/{name}" for name in (*attention, *mlp, *encoder)),
        *(f"decoder/layers/{name}" for name in (*mlp, *decoder)),
        *(f"{stack}/relpos_bias/rel_embedding" for stack in ("encoder", "decoder")),
        "encoder/encoder_norm/scale",
        "decoder/decoder_norm/scale",
        "decoder/logits_dense/kernel",
        *(f"hypernetwork/generator/{name}" for name in generator),
    }


@pytest.mark.usefixtures("mesh")
class TestQuirks:
    """Each quirk does what it says, and nothing does it by default."""

    def state(self, quirks: Quirks, tokens, params=None, **fields):
        full = tiny_hint(quirks=quirks, **fields)
        params = initial_params(full) if params is None else params
        module = full.build()
        adapt = jax.jit(lambda p, t: module.apply({"params": p}, t, method="adapt"))
        return adapt(params, tokens)

    def test_see_padding(self):
        tokens = jnp.array([[5, 6, 1]])
        wide = jnp.pad(tokens, ((0, 0), (0, 5)))
        adapter = lambda quirks, t: self.state(quirks, t).decoder.mlp.adapter.up  # noqa: E731
        np.testing.assert_allclose(
            adapter(Quirks(), tokens), adapter(Quirks(), wide), atol=1e-6
        )
        leaky = Quirks(see_padding=True)
        assert not np.allclose(adapter(leaky, tokens), adapter(leaky, wide), atol=1e-4)

    def test_reshaped_down(self):
        tokens = random_batch()["condition_tokens"]
        straight = self.state(Quirks(), tokens).encoder.mlp.adapter.down
        reshaped = self.state(Quirks(reshaped_down=True), tokens)
        bottleneck, width = straight.shape[-2:]
        raw = np.asarray(straight).reshape(*straight.shape[:2], width, bottleneck)
        np.testing.assert_allclose(
            reshaped.encoder.mlp.adapter.down, raw.swapaxes(-1, -2), atol=1e-6
        )

    def test_unused_cross_adapters_change_nothing_but_the_count(self):
        tokens = random_batch()["condition_tokens"]
        full = tiny_hint(quirks=Quirks(unused_cross_adapters=True))
        params = initial_params(full)
        generator = dict(params["hypernetwork"]["generator"])
        for name, bank in generator.items():
            if name.startswith("decoder_queries_adapter"):
                generator[name] = bank[:, : bank.shape[1] // 2]
        lean = params | {"hypernetwork": {"generator": generator}}
        with_unused = self.state(full.method.quirks, tokens, params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            with_unused,
            self.state(Quirks(), tokens, lean),
        )

    def test_symmetric_start_makes_queries_alike(self):
        tokens = random_batch()["condition_tokens"]

        def alignment(quirks):
            """Mean cosine between the generated rows of one adapter."""
            up = np.asarray(self.state(quirks, tokens).decoder.mlp.adapter.up[0, 0])
            unit = up / np.linalg.norm(up, axis=-1, keepdims=True)
            return (unit @ unit.T)[np.triu_indices(len(unit), 1)].mean()

        assert alignment(Quirks(symmetric_start=True)) > 0.95
        assert alignment(Quirks()) < 0.5

    def test_generator_dropout_needs_a_key(self):
        full = tiny_hint(quirks=Quirks(generator_dropout=0.5))
        module, params, batch = full.build(), initial_params(full), random_batch()
        loss = jax.jit(lambda key: objective.loss(module, params, batch, key)[0])
        key = jax.random.key(0)
        assert loss(key) == loss(key) != loss(None)


def test_nothing_to_generate_is_refused():
    with pytest.raises(ValueError, match="expected at least one of adapters, prefixes"):
        Hint(bottleneck=0, prefix_length=0, fusion=False)


@pytest.mark.usefixtures("mesh")
def test_separate_encoder_has_its_own_layers():
    shapes = model.abstract_parameters(tiny_hint(tied_encoder=False)).shapes
    own = shapes["hypernetwork"]["conditioner"]["encoder"]
    assert jax.tree.structure(own) == jax.tree.structure(shapes["encoder"])
    assert TINY.num_encoder_layers == own["layers"]["mlp"]["wo"]["kernel"].shape[0]


@pytest.mark.parametrize("tied", [True, False])
def test_an_encoder_of_its_own_starts_as_the_backbones(tied):
    config = tiny_hint(tied_encoder=tied)
    own = flatten_dict(model.abstract_parameters(config).shapes, sep="/")
    stored = {k: v for k, v in own.items() if not k.startswith("hypernetwork/")}
    origins = sources(own, stored, config.method.copies)
    prefix = "hypernetwork/conditioner/encoder/"
    copied = {path: origins[path] for path in origins.keys() - stored.keys()}
    assert copied == {p: "encoder/" + p.removeprefix(prefix) for p in copied}
    assert copied.keys() == {path for path in own if path.startswith(prefix)}
    assert bool(copied) is not tied
