"""Hugging Face checkpoints, written by transformers and read without it."""

import json

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from hyperx.checkpoints.huggingface import reading
from hyperx.config import T5Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = dict(
    vocab_size=40,
    d_model=8,
    d_kv=3,
    d_ff=12,
    num_layers=2,
    num_decoder_layers=3,
    num_heads=4,
    relative_attention_num_buckets=6,
    relative_attention_max_distance=20,
    dropout_rate=0.05,
)


def write(directory, own_head=True, dtype="float32", **fields):
    """Saves a random model as transformers does; returns its tensors."""
    torch.manual_seed(0)
    config = transformers.T5Config(**SIZES, **fields)
    model = transformers.T5ForConditionalGeneration(config)
    if own_head and not config.scale_decoder_outputs:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(40, 8))
    for parameter in model.parameters():
        parameter.data.normal_()
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    return {name: t.detach().float().numpy() for name, t in model.state_dict().items()}


V1_1 = dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
V1_0 = dict(feed_forward_proj="relu")
EXPECTED = T5Config(
    vocab_size=40,
    embed_dim=8,
    num_heads=4,
    head_dim=3,
    mlp_dim=12,
    num_encoder_layers=2,
    num_decoder_layers=3,
    relative_buckets=6,
    relative_max_distance=20,
    dropout_rate=0.05,
)


def check_values(params, tensors, mlp):
    """Every parameter, by names written out: theirs has ``%d`` for the layer."""
    flat, seen = flatten_dict(params, sep="/"), set()

    def equal(path, name, count=None):
        layers = range(count or 1)
        values = [tensors[name % i if count else name].T for i in layers]
        np.testing.assert_array_equal(flat[path], values if count else values[0])
        assert flat[path].dtype == np.float32
        seen.add(path)

    # Embeddings and scales are not transposed.
    np.testing.assert_array_equal(
        flat["token_embedder/embedding"], tensors["shared.weight"]
    )
    seen.add("token_embedder/embedding")
    for stack, count in (("encoder", 2), ("decoder", 3)):
        block = f"{stack}.block.%d.layer"
        equal(f"{stack}/{stack}_norm/scale", f"{stack}.final_layer_norm.weight")
        equal(
            f"{stack}/relpos_bias/rel_embedding",
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        )
        own = "attention" if stack == "encoder" else "self_attention"
        modules = [("SelfAttention", own, f"pre_{own}_layer_norm")]
        if stack == "decoder":
            cross = "encoder_decoder_attention"
            modules += [("EncDecAttention", cross, "pre_cross_attention_layer_norm")]
        for place, (theirs, ours, norm) in enumerate(modules):
            equal(
                f"{stack}/layers/{norm}/scale",
                f"{block}.{place}.layer_norm.weight",
                count,
            )
            for letter, kernel in zip(
                "qkvo", ("query", "key", "value", "out"), strict=True
            ):
                equal(
                    f"{stack}/layers/{ours}/{kernel}/kernel",
                    f"{block}.{place}.{theirs}.{letter}.weight",
                    count,
                )
        place = len(modules)
        equal(
            f"{stack}/layers/pre_mlp_layer_norm/scale",
            f"{block}.{place}.layer_norm.weight",
            count,
        )
        for kernel in (*mlp, "wo"):
            equal(
                f"{stack}/layers/mlp/{kernel}/kernel",
                f"{block}.{place}.DenseReluDense.{kernel}.weight",
                count,
            )
    if "decoder/logits_dense/kernel" in flat:
        equal("decoder/logits_dense/kernel", "lm_head.weight")
    assert seen == flat.keys()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shard", ["1GB", "2KB"])
def test_reads_v1_1(tmp_path, dtype, shard):
    tensors = write(tmp_path, dtype=dtype, **V1_1)
    if shard == "2KB":
        reshard(tmp_path)
    config, params = reading.read(tmp_path)
    assert config == EXPECTED
    check_values(params, tensors, ("wi_0", "wi_1"))
    assert params["decoder"]["logits_dense"]["kernel"].shape == (8, 40)


def reshard(directory):
    """Splits a checkpoint into two files with an index."""
    import ml_dtypes  # noqa: F401

    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for index, part in enumerate((names[::2], names[1::2])):
        file = f"model-{index}.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))


def test_reads_v1_0(tmp_path):
    tensors = write(tmp_path, **V1_0)
    config, params = reading.read(tmp_path)
    assert config.tie_embeddings
    assert config.mlp_activations == ("relu",)
    assert "logits_dense" not in params["decoder"]
    check_values(params, tensors, ("wi",))


def test_unscaled_but_shared_head_is_copied(tmp_path):
    # transformers 5 ties the head of a fresh v1.1 model and saves it once.
    tensors = write(tmp_path, own_head=False, **V1_1)
    config, params = reading.read(tmp_path)
    assert not config.tie_embeddings
    np.testing.assert_array_equal(
        params["decoder"]["logits_dense"]["kernel"], tensors["shared.weight"].T
    )


def change(directory, tensors=None, **fields):
    """Edits tensors and config.json of a checkpoint; None deletes."""
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    if tensors:
        file = directory / "model.safetensors"
        merged = load_file(file) | tensors
        save_file({k: v for k, v in merged.items() if v is not None}, file)


ZERO = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    ("tensors", "fields", "message"),
    [
        (
            {"decoder.final_layer_norm.weight": None},
            {},
            "missing .'decoder.final_layer",
        ),
        ({"decoder.adapter.weight": ZERO}, {}, "not expected .'decoder.adapter.weight"),
        (
            {"shared.weight": ZERO},
            {},
            r"shared.weight: expected \(40, 8\), got \(2, 2\)",
        ),
        ({}, {"num_layers": 3}, "missing .'encoder.block.2.layer.0.SelfAttention.k"),
        ({}, {"model_type": "umt5"}, r"\('t5', 'mt5'\), got 'umt5'"),
        ({}, {"feed_forward_proj": "gated-silu"}, "got 'gated-silu'"),
        ({}, {"scale_decoder_outputs": True}, "ties the head to the embeddings"),
        (
            {"lm_head.weight": None},
            {"tie_word_embeddings": False},
            r"missing \['lm_head.weight'\]",
        ),
    ],
)
def test_refuses_what_does_not_fit(tmp_path, tensors, fields, message):
    write(tmp_path, **V1_1)
    change(tmp_path, tensors, **fields)
    with pytest.raises(ValueError, match=message):
        reading.read(tmp_path)


def test_redundant_tensors_are_allowed(tmp_path):
    tensors = write(tmp_path, **V1_0)
    bias = np.zeros((6, 4), np.float32)
    copies = {
        "lm_head.weight": tensors["shared.weight"],
        "encoder.embed_tokens.weight": tensors["shared.weight"],
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": bias,
    }
    change(tmp_path, copies)
    config, params = reading.read(tmp_path)
    assert config.tie_embeddings
    check_values(params, tensors, ("wi",))


def test_refuses_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        reading.read(tmp_path)
    write(tmp_path, **V1_1)
    model = tmp_path / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[:200])
    with pytest.raises(
        ValueError, match=r"expected safetensors in .*model.safetensors"
    ):
        reading.read(tmp_path)
    model.unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors.index.json"):
        reading.read(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="a pickle.*save_pretrained"):
        reading.read(tmp_path)
