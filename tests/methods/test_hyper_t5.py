"""HyperT5: counts, what the hypermodel sees, and what its slots write."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from flax.traverse_util import flatten_dict

from hyperx import config, model, sharding
from hyperx.backbone.t5 import T5
from hyperx.hypernetworks.conditioners.hypermodel import Hypermodel
from hyperx.hypernetworks.generators.slots import LowRankHeads, PrefixHeads
from hyperx.methods.hyper_t5 import HyperT5Lora, HyperT5Prefix
from hyperx.optim.optimizers import Adafactor
from hyperx.runs.state import Recipe, sources

LARGE = config.t5_1_1("large")
LENGTH, RANK = 3, 2
# In the order of their slots: where an update goes, and its layers.
FAMILIES = (
    ("encoder", "self_attention", TINY.num_encoder_layers),
    ("decoder", "self_attention", TINY.num_decoder_layers),
    ("decoder", "cross_attention", TINY.num_decoder_layers),
)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


class TestCounts:
    """At T5 large, by formula."""

    LAYERS, D, JOINED = 24, 1024, 1024
    # T5 large without the output head, which the hypermodel does not have.
    HYPERMODEL = 783_150_080 - 1024 * 32128

    @pytest.mark.parametrize(("cross", "attentions"), [(False, 2), (True, 3)])
    def test_prefix(self, cross, attentions):
        method = HyperT5Prefix(length=32, cross_attention=cross)
        heads = 2 * attentions * (self.D**2 + self.D * self.LAYERS * self.JOINED)
        assert heads == {2: 104_857_600, 3: 157_286_400}[attentions]
        self.check(method, 2 * 32, heads)

    @pytest.mark.parametrize(("shared", "kinds"), [(False, 3), (True, 1)])
    def test_lora(self, shared, kinds):
        method = HyperT5Lora(rank=16, shared_heads=shared)
        head = self.D**2 + self.D * 16 * self.D + 16 * self.D
        self.check(method, 3 * self.LAYERS, 4 * kinds * head)

    def check(self, method, slots, heads):
        full = model.ModelConfig(backbone=LARGE, method=method)
        shapes = model.abstract_parameters(full).shapes["hypernetwork"]
        conditioner = shapes["conditioner"]
        assert count(conditioner["model"]) == self.HYPERMODEL
        assert conditioner["slot_embedding"].shape == (slots, self.D)
        assert count(shapes["generator"]) == heads
        expected = self.HYPERMODEL + slots * self.D + self.D + heads  # and a norm
        assert count(shapes) == expected


class TestHypermodel:
    def test_it_starts_as_the_backbone_and_is_not_tied_to_it(self):
        full = model.ModelConfig(backbone=TINY, method=HyperT5Lora(rank=RANK))
        shapes = model.abstract_parameters(full).shapes
        own = flatten_dict(shapes, sep="/")
        stored = {k: v for k, v in own.items() if not k.startswith("hypernetwork/")}
        origins = sources(own, stored, full.method.copies)
        copies = {path: origins[path] for path in origins.keys() - stored.keys()}
        prefix = "hypernetwork/conditioner/model/"
        assert copies == {
            prefix + p: p for p in stored.keys() - {"decoder/logits_dense/kernel"}
        }
        new = [path for path in own if path.startswith(prefix)]
        assert copies.keys() == set(new)

    @pytest.mark.usefixtures("mesh")
    def test_every_slot_sees_the_condition_and_all_slots(self):
        module, backbone = Hypermodel(TINY, 4), T5(TINY)
        tokens = jnp.array([[5, 6, 7, 0], [8, 9, 0, 0]])
        init = jax.jit(lambda key: nn.unbox(module.init(key, tokens, backbone)))
        params = init(jax.random.key(0))

        @jax.jit
        def seen(params, slot):
            def out(params):
                states = module.apply(params, tokens, backbone)
                direction = jax.random.normal(jax.random.key(1), states.shape[2:])
                return jnp.sum(states[:, slot] @ direction)

            grads = jax.grad(out)(params)["params"]
            return (
                jnp.abs(grads["slot_embedding"]).sum(-1),
                jnp.abs(grads["model"]["token_embedder"]["embedding"]).sum(-1),
            )

        for slot in range(4):
            slots, words = seen(params, slot)
            assert np.all(slots > 0)
            assert set(np.flatnonzero(words)) == {5, 6, 7, 8, 9}


def written(heads, slots: int):
    """Heads' random parameters, a random code, and what they write of it."""
    keys = jax.random.split(jax.random.key(3))
    code = jax.random.normal(keys[0], (2, slots, TINY.embed_dim))
    params = nn.unbox(jax.jit(heads.init)(keys[1], code))
    leaves, tree = jax.tree.flatten(params)
    params = tree.unflatten(
        jax.random.normal(jax.random.key(i), x.shape) for i, x in enumerate(leaves)
    )

    @jax.jit
    def parts(code):
        conditioning = heads.apply(params, code)
        return {
            "encoder": conditioning.encoder.materialize(),
            "decoder": conditioning.decoder.materialize(),
        }

    return params["params"], code, parts


@pytest.mark.usefixtures("mesh")
class TestPrefixHeads:
    def test_a_slot_writes_one_position_of_all_layers(self):
        heads = PrefixHeads(TINY, LENGTH, cross_attention=True)
        _, code, parts = written(heads, 2 * LENGTH)
        before = parts(code)
        for slot in range(2 * LENGTH):
            after = parts(code.at[:, slot].add(1.0))
            for stack, site, layers in FAMILIES:
                one, two = (getattr(x[stack], site).prefix for x in (before, after))
                assert one.key.shape == (layers, 2, LENGTH, 4, 12)
                changed = [
                    np.any(getattr(one, side) != getattr(two, side), axis=(3, 4))
                    for side in ("key", "value")
                ]
                changed = np.concatenate(changed, axis=2)  # [L, G, 2 P]
                assert np.all(changed == (np.arange(2 * LENGTH) == slot))

    def test_values_by_hand(self):
        params, code, parts = written(PrefixHeads(TINY, LENGTH), 2 * LENGTH)
        out = parts(code)["decoder"]
        assert out.cross_attention.prefix is None
        hidden = jax.nn.gelu(
            code[:, LENGTH:] @ params["decoder_self_attention_value_wi"]
        )
        expected = hidden @ params["decoder_self_attention_value_wo"][2]
        np.testing.assert_allclose(
            out.self_attention.prefix.value[2].reshape(expected.shape),
            expected,
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.usefixtures("mesh")
class TestLowRankHeads:
    @pytest.mark.parametrize("shared", [False, True])
    def test_a_slot_writes_one_attention_of_one_layer(self, shared):
        heads = LowRankHeads(TINY, RANK, 0.5, shared_heads=shared)
        slots = LowRankHeads.slots(TINY)
        assert slots == 2 + 3 + 3
        _, code, parts = written(heads, slots)
        before, start = parts(code), 0
        after = [parts(code.at[:, slot].add(1.0)) for slot in range(slots)]
        for stack, site, layers in FAMILIES:
            for slot in range(slots):
                one, two = (
                    getattr(x[stack], site).low_rank for x in (before, after[slot])
                )
                for name in ("query", "value"):
                    assert one[name].scale == 0.5
                    for factor in "ab":
                        changed = np.any(
                            getattr(one[name], factor) != getattr(two[name], factor),
                            axis=(1, 2, 3),
                        )
                        assert np.all(changed == (np.arange(layers) == slot - start))
            start += layers

    def test_values_by_hand(self):
        heads = LowRankHeads(TINY, RANK, 1.0, ("out",))
        params, code, parts = written(heads, 8)
        update = parts(code)["decoder"].cross_attention.low_rank["out"]
        for factor, width in (("a", 48), ("b", 32)):
            name = f"cross_out_{factor}"
            hidden = jax.nn.gelu(code[:, 2 + 3 + 1] @ params[f"{name}_wi"])
            expected = hidden @ params[f"{name}_wo"] + params[f"{name}_bias"][None]
            np.testing.assert_allclose(
                getattr(update, factor)[1],
                expected.reshape(2, RANK, width),
                rtol=1e-4,
                atol=1e-4,
            )


@pytest.mark.parametrize("method", [HyperT5Prefix(), HyperT5Lora()])
def test_parameters_can_be_split_over_devices(method):
    full = model.ModelConfig(backbone=TINY, method=method)
    recipe = Recipe(full, Adafactor(learning_rate=0.1), ("(?!hypernetwork/)",))
    state = recipe.abstract(sharding.make_mesh(2, model=4))
    for name, leaf in state.params["hypernetwork"]["generator"].items():
        if name.endswith("_wo"):
            assert leaf.sharding.spec.count("model") == 1, name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HyperT5Prefix(length=0), "expected a length of at least 1, got 0"),
        (lambda: HyperT5Lora(rank=0), "expected a rank of at least 1, got 0"),
        (lambda: HyperT5Lora(projections=("wi",)), r"expected .* got \('wi',\)"),
        (lambda: HyperT5Lora(projections=()), r"expected .* got \(\)"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
