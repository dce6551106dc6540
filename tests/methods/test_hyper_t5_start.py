"""Where HyperT5 starts: LoRA at the plain T5, prefixes at the size of its own keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx import config, model
from hyperx.backbone.layers import RMSNorm
from hyperx.backbone.t5 import PAD, Encoder
from hyperx.emission import Emission
from hyperx.methods.hyper_t5 import HyperT5Lora, HyperT5Prefix
from hyperx.methods.plain import Plain
from hyperx.objectives import objective

PREFIX = model.ModelConfig(
    backbone=TINY, method=HyperT5Prefix(length=8, cross_attention=True)
)
LORA = model.ModelConfig(backbone=TINY, method=HyperT5Lora(rank=2))

pytestmark = pytest.mark.usefixtures("mesh")


def logits_of(full, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def plain_logits(params, batch):
    own = {k: v for k, v in batch.items() if k != "condition_tokens"}
    params = {k: v for k, v in params.items() if k != "hypernetwork"}
    plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
    return logits_of(plain, params, own)


def state_of(full, params, batch):
    module = full.build()
    return jax.jit(
        lambda p: module.apply({"params": p}, batch["condition_tokens"], method="adapt")
    )(params)


@pytest.fixture
def uneven():
    """Parameters whose layers differ in size, as those of trained T5s do."""
    flat = flatten_dict(initial_params(PREFIX), sep="/")
    for path, leaf in flat.items():
        if path.startswith("hypernetwork/"):
            continue
        if path.endswith("norm/scale"):
            flat[path] = leaf * jnp.linspace(0.1, 0.5, leaf.size).reshape(leaf.shape)
        elif "/layers/" in path and path.endswith(("key/kernel", "value/kernel")):
            flat[path] = leaf * jnp.geomspace(0.4, 3.0, len(leaf))[:, None, None]
    return unflatten_dict(flat, sep="/")


def rms(x, mask=None):
    square = np.mean(np.square(x), axis=(-2, -1))
    return np.sqrt(np.average(square, weights=mask))


class TestPrefix:
    def test_only_last_kernels_change(self, uneven):
        before = flatten_dict(uneven, sep="/")
        after = flatten_dict(PREFIX.method.start(uneven), sep="/")
        assert before.keys() == after.keys()
        changed = {p for p in before if not np.array_equal(before[p], after[p])}
        prefix = "hypernetwork/generator/"
        assert changed == {p for p in before if p.startswith(prefix) and "_wo" in p}
        assert len(changed) == 6

    def test_heads_of_a_checkpoint_stay(self, uneven):
        before = flatten_dict(uneven, sep="/")
        names = {p for p in before if p.startswith("hypernetwork/generator/")}
        new = {p for p in names if "decoder_self_attention" in p}
        after = flatten_dict(PREFIX.method.start(uneven, frozenset(new)), sep="/")
        changed = {p for p in before if not np.array_equal(before[p], after[p])}
        assert changed == {p for p in new if "_wo" in p}

    def test_keys_and_values_are_as_large_as_the_backbone_s_own(self, uneven):
        """Within a factor of two, in every layer of the encoder and across."""
        batch = random_batch()
        params = jax.jit(PREFIX.method.start)(uneven)
        state = state_of(PREFIX, params, batch)
        for layer, (key, value, mask) in enumerate(encoder_keys_values(params, batch)):
            prefix = jax.tree.map(
                lambda x, i=layer: x[i], state.encoder.self_attention.prefix
            )
            assert 0.5 < rms(prefix.key) / rms(key, mask) < 2
            assert 0.5 < rms(prefix.value) / rms(value, mask) < 2
        memory = projected(params, batch)
        for layer in range(TINY.num_decoder_layers):
            prefix = jax.tree.map(
                lambda x, i=layer: x[i], state.decoder.cross_attention.prefix
            )
            assert 0.5 < rms(prefix.key) / rms(memory.key[layer], memory.mask) < 2
            assert 0.5 < rms(prefix.value) / rms(memory.value[layer], memory.mask) < 2


def encoder_keys_values(params, batch):
    """Keys, values and mask of every encoder layer's self-attention."""
    tokens, encoder = batch["encoder_tokens"], params["encoder"]
    x, mask = params["token_embedder"]["embedding"][tokens], tokens != PAD
    norms = encoder["layers"]["pre_attention_layer_norm"]["scale"]
    for layer in range(TINY.num_encoder_layers):
        # What a layer reads is what a shorter encoder writes, its norm at the end.
        norm = {"scale": norms[layer]}
        if layer == 0:
            normal = RMSNorm(TINY.norm_epsilon).apply({"params": norm}, x)
        else:
            fewer = {"num_encoder_layers": layer}
            shorter = config.T5Config(**vars(TINY) | fewer)
            layers = jax.tree.map(lambda leaf, n=layer: leaf[:n], encoder["layers"])
            own = encoder | {"layers": layers, "encoder_norm": norm}
            run = jax.jit(Encoder(shorter).apply)
            normal = run({"params": own}, x, mask, Emission.nothing())
        kernels = encoder["layers"]["attention"]
        shape = (*tokens.shape, TINY.num_heads, TINY.head_dim)
        yield (
            *(
                (normal @ kernels[n]["kernel"][layer]).reshape(shape)
                for n in ("key", "value")
            ),
            mask,
        )


def projected(params, batch):
    """Cross-attention keys and values of encoded inputs, for all decoder layers."""
    module = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs")).build()

    def project(self):
        none = Emission.nothing()
        encoded = self.backbone.encode(batch["encoder_tokens"], none)
        return self.backbone.project(encoded, none)

    own = {k: v for k, v in params.items() if k != "hypernetwork"}
    return jax.jit(lambda p: module.apply({"params": p}, method=project))(own)


class TestLora:
    def test_it_is_plain_t5(self):
        batch, params = random_batch(), initial_params(LORA)
        assert LORA.method.start(params) is params
        np.testing.assert_array_equal(
            logits_of(LORA, params, batch), plain_logits(params, batch)
        )

    def test_updates_begin_with_the_second_factor(self):
        """While it is zero, gradients reach nothing else; then they reach all."""
        batch, params, module = random_batch(), initial_params(LORA), LORA.build()

        @jax.jit
        def grads(params):
            return jax.grad(lambda p: objective.loss(module, p, batch, None)[0])(params)

        def reached(grads):
            flat = flatten_dict(grads["hypernetwork"], sep="/")
            return {path for path, leaf in flat.items() if np.any(leaf)}

        first = grads(params)
        every = set(flatten_dict(params["hypernetwork"], sep="/"))
        last = {p for p in every if p.endswith(("_b_wo", "_b_bias"))}
        assert reached(first) == last
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, first)
        assert reached(grads(moved)) == every

    def test_first_factors_are_as_in_lora_and_alike_at_first(self):
        batch = random_batch()
        update = state_of(LORA, initial_params(LORA), batch).encoder.self_attention
        a, b = update.low_rank["query"].a, update.low_rank["query"].b
        assert not np.any(b)
        # As large as uniform within 1 / sqrt(D), which is what LoRA starts with.
        np.testing.assert_allclose(np.std(a), (3 * 32) ** -0.5, rtol=0.2)
        assert 0 < np.std(a - a[:, :1]) < 0.03 * np.std(a)
