"""PEFT folders: what peft and transformers compute with them is what hyperx does."""

import numpy as np
import pytest
from conftest import TINY
from exit_states import (
    FAMILIES,
    batch,
    decoder_prefix,
    ia3_everywhere,
    ia3_of_values,
    logits,
    lora_everywhere,
    lora_here_and_there,
    predictor_of,
    soft_prompt,
)

from hyperx.checkpoints.huggingface import writing
from hyperx.runs.exits import peft as exits

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")


def base(tmp_path, predictor):
    """The backbone, as transformers reads it."""
    folder = tmp_path / "hf"
    if not folder.exists():
        writing.write(folder, predictor.config.backbone, predictor.params)
    return transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()


def theirs(model):
    tokens, decoder = batch()
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(tokens).long(),
            attention_mask=torch.tensor(tokens != 0).long(),
            decoder_input_ids=torch.tensor(decoder).long(),
        ).logits.numpy()


def loaded(tmp_path, predictor, state, **how):
    """The backbone with the adapter that was written."""
    exits.write(tmp_path / "peft", state, **how)
    folder = tmp_path / "peft"
    return peft.PeftModel.from_pretrained(base(tmp_path, predictor), folder).eval()


def bias_of(predictor):
    return predictor.params["decoder"]["relpos_bias"]["rel_embedding"]


def flat_bias(value):
    """A backbone whose decoder has one relative bias for all earlier positions."""
    params = predictor_of(TINY).params["decoder"]
    bias = np.array(params["relpos_bias"]["rel_embedding"])
    bias[:, 1:] = value
    return predictor_of(TINY, decoder=params | {"relpos_bias": {"rel_embedding": bias}})


@pytest.fixture(params=FAMILIES)
def predictor(request):
    return predictor_of(FAMILIES[request.param])


@pytest.mark.parametrize("kind", ["lora", "some lora", "ia3", "some ia3", "prompt"])
def test_logits_are_equal(tmp_path, predictor, kind):
    state = {
        "lora": lambda: lora_everywhere(predictor.config.backbone),
        "some lora": lora_here_and_there,
        "ia3": ia3_everywhere,
        "some ia3": ia3_of_values,
        "prompt": soft_prompt,
    }[kind]()
    model = loaded(tmp_path, predictor, state)
    np.testing.assert_allclose(theirs(model), logits(predictor, state), atol=1e-4)


def test_all_weights_are_read_and_no_others_are_made(tmp_path):
    """Ranks, factors and modules are those of the state, and nothing else adapts."""
    state = lora_here_and_there()
    model = loaded(tmp_path, predictor_of(TINY), state)
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    expected = {
        "encoder.block.{}.layer.0.SelfAttention.q": (2, 3, 1.25),
        "decoder.block.{}.layer.1.EncDecAttention.v": (3, 2, 0.4),
        "decoder.block.{}.layer.2.DenseReluDense.wo": (3, 5, 1.25),
    }
    named = {
        name.format(layer): told
        for name, (count, *told) in expected.items()
        for layer in range(count)
    }
    found = {
        name: [module.r["default"], pytest.approx(module.scaling["default"])]
        for name, module in layers.items()
    }
    assert found == named
    wrong = model.load_adapter(tmp_path / "peft", "again")
    assert not wrong.missing_keys
    assert not wrong.unexpected_keys


def test_generation_is_equal(tmp_path):
    predictor, state = predictor_of(TINY), ia3_everywhere()
    model = loaded(tmp_path, predictor, state)
    tokens, _ = batch()
    rows = model.generate(
        input_ids=torch.tensor(tokens).long(),
        attention_mask=torch.tensor(tokens != 0).long(),
        max_new_tokens=6,
        do_sample=False,
        use_cache=False,  # Their cache has as many layers as the encoder.
    )
    ours, _ = predictor.generate_tokens(tokens[None], state, 6)
    np.testing.assert_array_equal(ours[0][:, : rows.shape[1] - 1], rows[:, 1:].numpy())


def test_bfloat16_is_rounded_once(tmp_path):
    predictor, state = predictor_of(TINY), lora_here_and_there()
    model = loaded(tmp_path, predictor, state, dtype="bfloat16")
    part = state.encoder.self_attention.low_rank["query"]
    module = model.get_submodule(
        "base_model.model.encoder.block.1.layer.0.SelfAttention.q.lora_A.default"
    )
    rounded = torch.tensor(np.asarray(part.a[1, 0])).bfloat16().float()
    assert torch.equal(module.weight.float(), rounded)


class TestPrefixes:
    """What PEFT's prefix tuning of a T5 is, and when it is ours."""

    @pytest.mark.parametrize("gate", [None, 0.75])
    def test_without_positions_logits_are_equal(self, tmp_path, gate):
        predictor = flat_bias(gate or 0.0)
        state = decoder_prefix(gate)
        model = loaded(tmp_path, predictor, state, bias=bias_of(predictor))
        np.testing.assert_allclose(theirs(model), logits(predictor, state), atol=1e-4)

    def test_every_layer_has_its_own(self, tmp_path):
        predictor, state = flat_bias(0.0), decoder_prefix()
        model = loaded(tmp_path, predictor, state, bias=bias_of(predictor))
        cache = model.get_prompt(1).self_attention_cache
        part = state.decoder.self_attention.prefix
        for layer in range(TINY.num_decoder_layers):
            for side in ("key", "value"):
                found = getattr(cache.layers[layer], f"{side}s")[0]
                expected = np.asarray(getattr(part, side)[layer, 0]).swapaxes(0, 1)
                np.testing.assert_array_equal(found.detach().numpy(), expected)

    def test_positions_are_refused_since_logits_would_differ(self, tmp_path):
        predictor, state = predictor_of(TINY), decoder_prefix()
        with pytest.raises(ValueError, match="T5 adds its relative position bias"):
            exits.adapter(state, bias_of(predictor))
        flat = bias_of(flat_bias(0.0))
        model = loaded(tmp_path, predictor, state, bias=flat)
        assert np.abs(theirs(model) - logits(predictor, state)).max() > 0.1
