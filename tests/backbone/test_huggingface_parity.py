"""Our T5 equals Hugging Face's on the same weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from hyperx.checkpoints.huggingface import reading
from hyperx.inference.predictor import Predictor
from hyperx.methods import plain
from hyperx.model import ModelConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FAMILIES = {
    "v1.0": dict(feed_forward_proj="relu", tie_word_embeddings=True),
    "v1.1": dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}


@pytest.fixture(params=FAMILIES)
def pair(request, tmp_path):
    """A random Hugging Face T5 whose H * K differs from D, and ours of its folder."""
    torch.manual_seed(0)
    theirs = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=96,
            d_model=32,
            d_kv=12,
            num_heads=4,
            d_ff=48,
            num_layers=3,
            num_decoder_layers=2,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=16,
            decoder_start_token_id=0,
            dropout_rate=0.0,
            **FAMILIES[request.param],
        )
    ).eval()
    with torch.no_grad():  # initial norms and biases would hide mistakes
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    backbone, params = reading.read(tmp_path)
    config = ModelConfig(backbone=backbone, method=plain.Plain())
    lengths = {"prompt": 64, "targets": 64}
    return theirs, Predictor(config, params, None, lengths)


@pytest.fixture
def tokens():
    """Rows of different length, right-padded, longer than the exact buckets."""
    rows = np.random.default_rng(0).integers(2, 96, (4, 24)).astype(np.int32)
    for row, length in enumerate((24, 17, 3, 9)):
        rows[row, length:] = 0
    return rows


def test_logits_equal(pair, tokens):
    theirs, ours = pair
    decoder = np.random.default_rng(1).integers(2, 96, (4, 20)).astype(np.int32)
    decoder[:, 0] = 0
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(tokens).long(),
            attention_mask=torch.tensor(tokens != 0).long(),
            decoder_input_ids=torch.tensor(decoder).long(),
        ).logits.numpy()
    np.testing.assert_allclose(ours.logits(tokens, decoder), expected, atol=1e-4)


def test_greedy_generation_is_identical(pair, tokens):
    theirs, ours = pair
    expected = theirs.generate(
        input_ids=torch.tensor(tokens).long(),
        attention_mask=torch.tensor(tokens != 0).long(),
        max_new_tokens=24,
        do_sample=False,
        num_beams=1,
    ).numpy()[:, 1:]
    state = ours.adapt_tokens(None)
    got, _ = ours.generate_tokens(jnp.asarray(tokens)[None], state, 24)
    np.testing.assert_array_equal(got[0, :, : expected.shape[1]], expected)
    assert not np.any(got[0, :, expected.shape[1] :])
