"""Text-to-LoRA: published sizes, where it starts, and one layer in numpy."""

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
from hyperx.methods.text_to_lora import TextToLora

VARIANTS = ("L", "M", "S")
PUBLISHED = {"L": 55, "M": 34, "S": 5}  # million parameters


def tiny(variant: str = "L", **fields) -> model.ModelConfig:
    method = TextToLora(**dict(SIZES, variant=variant) | fields)
    return model.ModelConfig(backbone=TINY, method=method)


def extra_size(variant: str, kinds: int, width: int, rank: int) -> int:
    """Embeddings of factors and units, with their norms."""
    factors = 2 * kinds * width + 2 * width
    units = rank * width + 2 * width
    return {"L": 0, "M": factors, "S": factors + units}[variant]


def heads_size(variant: str, head: int, rank: int, widths) -> int:
    """Kernels of the heads for projections of (input, output) `widths`."""
    kernels = {
        "L": sum(rank * (a + b) for a, b in widths),
        "M": sum(rank * max(a, b) for a, b in widths),
        "S": sum(max(a, b) for a, b in widths),
    }
    return head * kernels[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts(variant):
    backbone = config.t5_1_1("small", num_decoder_layers=5)
    full = model.ModelConfig(backbone=backbone, method=TextToLora(variant=variant))
    shapes = model.abstract_parameters(full).shapes["hypernetwork"]
    widths = [(512, 384), (512, 384)]
    expected = (
        trunk_size(512, 8 + 5, 6, 128, 512)
        + extra_size(variant, 6, 128, 8)
        + heads_size(variant, 512, 8, widths)
        + 8 * 2 * (512 + 384)
    )
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.parametrize(("variant", "millions"), PUBLISHED.items())
def test_the_same_formula_gives_the_published_sizes(variant, millions):
    """For Mistral 7B: 32 layers, values of a quarter of the width, texts of 1024."""
    widths = [(4096, 4096), (4096, 1024)]
    total = (
        trunk_size(1024, 32, 2, 128, 512)
        + extra_size(variant, 2, 128, 8)
        + heads_size(variant, 512, 8, widths)
    )
    assert round(total / 1e6) == millions


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("variant", VARIANTS)
class TestVariants:
    def test_starts_as_plain_t5(self, variant):
        full, batch = tiny(variant), random_batch()
        params = initial_params(full)
        own = {k: v for k, v in batch.items() if k != "condition_tokens"}
        plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
        backbone = {k: v for k, v in params.items() if k != "hypernetwork"}
        expected = logits_of(plain, backbone, own)
        np.testing.assert_array_equal(logits_of(full, params, batch), expected)
        assert not np.allclose(logits_of(full, moved(params), batch), expected)
        # The first factors are those of LoRA, and the same for every condition.
        a = state_of(full, params, batch).encoder.self_attention.low_rank["query"].a
        assert np.ptp(np.asarray(a), axis=(0, 1)).max() == 0.0
        assert 0.5 * 32**-0.5 < np.abs(a).max() <= 32**-0.5

    def test_one_layer_in_numpy(self, variant):
        full, batch = tiny(variant), random_batch()
        params = moved(initial_params(full))
        state = state_of(full, params, batch)
        text = text_of(full, params, batch)
        generator = jax.tree.map(np.asarray, params["hypernetwork"]["generator"])
        # Layer 1 of the decoder, the value projection of its cross-attention.
        inputs = head_inputs(generator["trunk"], variant, text, 2 + 1, 5)
        update = jax.tree.map(
            lambda x: x[1], state.decoder.cross_attention.low_rank["value"]
        )
        for number, (factor, width) in enumerate((("a", 32), ("b", 48))):
            read = inputs if variant == "L" else inputs[:, number]
            suffix = f"_{factor}" if variant == "L" else ""
            written = read @ generator[f"head_value{suffix}"]
            written = written.reshape(4, 3, -1)[..., :width]
            expected = written + generator[f"head_value_{factor}_bias"]
            np.testing.assert_allclose(
                getattr(update, factor), expected, rtol=2e-4, atol=2e-4
            )
        assert update.scale == 16 / math.sqrt(3)

    def test_padding_changes_nothing(self, variant):
        full, batch = tiny(variant), random_batch()
        params, tokens = moved(initial_params(full)), batch["condition_tokens"]
        wide = batch | {"condition_tokens": jnp.pad(tokens, ((0, 0), (0, 6)))}
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
            state_of(full, params, batch),
            state_of(full, params, wide),
        )


@pytest.mark.usefixtures("mesh")
def test_gradients_enter_the_encoder_by_the_text_only_if_told_so():
    def encoder_moves(full):
        params, batch = moved(initial_params(full)), random_batch()
        module = full.build()

        @jax.jit
        def total(params):
            state = module.apply(
                {"params": params}, batch["condition_tokens"], method="adapt"
            )
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(state))

        return any(
            np.any(g) for g in jax.tree.leaves(jax.grad(total)(params)["encoder"])
        )

    assert not encoder_moves(tiny())
    assert encoder_moves(tiny(frozen_embedding=False))


def test_variant_is_checked():
    with pytest.raises(ValueError, match="expected variant to be one of .*'S'.*'XL'"):
        TextToLora(variant="XL")


def test_code_width_is_checked():
    with pytest.raises(ValueError, match="divides by 4, got 6"):
        TextToLora(code_width=6).hypernetwork(TINY)
