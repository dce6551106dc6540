"""Hugging Face folders that hyperx writes: what it read, to the bit, and theirs."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from conftest import TINY
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from hyperx import config as config_lib
from hyperx import sharding
from hyperx.checkpoints.huggingface import names, reading, writing
from hyperx.inference.predictor import Predictor
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig, abstract_parameters

OLD = dataclasses.replace(TINY, mlp_activations=("relu",), tie_embeddings=True)
FAMILIES = {"v1.0": OLD, "v1.1": TINY}


def random_params(backbone, seed=0):
    rng = np.random.default_rng(seed)
    config = ModelConfig(backbone=backbone, method=Plain())
    return jax.tree.map(
        lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
        abstract_parameters(config).shapes,
    )


@pytest.fixture(params=FAMILIES)
def backbone(request):
    return FAMILIES[request.param]


def tensors(directory):
    """All tensors of a folder."""
    files = sorted(directory.glob("*.safetensors"))
    return {k: v for file in files for k, v in load_file(file).items()}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert (array.dtype, array.shape) == (right[name].dtype, right[name].shape)
        assert array.tobytes() == right[name].tobytes(), name


def spread(params, backbone):
    """The same on eight devices."""
    mesh = sharding.make_mesh(data=2, fsdp=2, model=2)
    config = ModelConfig(backbone=backbone, method=Plain())
    axes = abstract_parameters(config).axes
    return jax.tree.map(jax.device_put, params, sharding.tree_shardings(axes, mesh))


@pytest.mark.parametrize("limit", [10**9, 30_000])
def test_parameters_come_back(tmp_path, backbone, limit):
    params, written = random_params(backbone), []
    writing.write(
        tmp_path / "hf",
        backbone,
        spread(params, backbone),
        file_bytes=limit,
        progress=written.append,
    )
    config, loaded = reading.read(tmp_path / "hf")
    assert config == backbone
    assert_same_bits(flatten_dict(loaded, sep="/"), flatten_dict(params, sep="/"))
    stored = tensors(tmp_path / "hf")
    size = sum(array.nbytes for array in stored.values())
    assert sum(written) == size
    if limit == 10**9:
        assert (tmp_path / "hf" / "model.safetensors").is_file()
        return
    index = json.loads((tmp_path / "hf" / names.INDEX).read_text())
    assert index["metadata"]["total_size"] == size
    assert index["weight_map"].keys() == stored.keys()
    files = sorted((tmp_path / "hf").glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == [file.name for file in files]
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    assert all(sum(a.nbytes for a in load_file(f).values()) <= limit for f in files)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_folders_of_transformers_come_back(tmp_path, backbone, dtype):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(**writing.describe(backbone, "float32"))
    )
    if not backbone.tie_embeddings:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(64, 32))
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "theirs")
    config, params = reading.read(tmp_path / "theirs")
    writing.write(tmp_path / "ours", config, params, dtype=dtype)
    theirs, ours = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    if backbone.tie_embeddings:
        theirs.pop("lm_head.weight", None)  # a copy
    for stack in ("encoder", "decoder"):
        theirs.pop(f"{stack}.embed_tokens.weight", None)
    assert_same_bits(ours, theirs)


def test_transformers_computes_the_same(tmp_path, backbone):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    params = random_params(backbone)
    writing.write(tmp_path / "hf", backbone, params, file_bytes=30_000)
    model, report = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert not any(report.values()), report
    tokens = np.random.default_rng(0).integers(2, 64, (3, 9)).astype(np.int32)
    tokens[1, 4:] = 0
    decoder = np.pad(tokens[:, :5], ((0, 0), (1, 0)))
    with torch.no_grad():
        theirs = model.eval()(
            input_ids=torch.tensor(tokens).long(),
            attention_mask=torch.tensor(tokens != 0).long(),
            decoder_input_ids=torch.tensor(decoder).long(),
        ).logits.numpy()
    config = ModelConfig(backbone=backbone, method=Plain())
    predictor = Predictor(config, params, None, {"prompt": 16, "targets": 16})
    ours = np.asarray(predictor.logits(tokens, decoder))
    assert np.std(ours) > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("make", [config_lib.t5_1_1, config_lib.t5_1_0])
def test_descriptions_come_back(tmp_path, make):
    xxl = make("xxl", dropout_rate=0.1)
    described = writing.describe(xxl, "bfloat16")
    small = dataclasses.replace(make("tiny", dropout_rate=0.1), vocab_size=64)
    writing.write(tmp_path / "hf", small, random_params(small))
    assert reading.read(tmp_path / "hf")[0] == small
    sizes = ("d_model", "d_kv", "d_ff", "num_heads", "num_layers", "vocab_size")
    expected = {
        config_lib.t5_1_1: [4096, 64, 10240, 64, 24, 32128],
        config_lib.t5_1_0: [1024, 128, 65536, 128, 24, 32128],
    }
    assert [described[name] for name in sizes] == expected[make]


def test_what_their_t5_has_not_is_refused(tmp_path):
    gated = dataclasses.replace(TINY, mlp_activations=("silu", "linear"))
    with pytest.raises(ValueError, match=r"activations of .* got \('silu', 'linear'\)"):
        writing.write(tmp_path / "a", gated, random_params(gated))
    params = random_params(TINY) | {"hypernetwork": {"a": np.zeros(2)}}
    with pytest.raises(ValueError, match=r"got \['hypernetwork/a'\] besides \(1\)"):
        writing.write(tmp_path / "b", TINY, params)
    params = random_params(TINY)
    params["token_embedder"]["embedding"] = np.zeros((3, 32), np.float32)
    with pytest.raises(
        ValueError, match=r"\(64, 32\) for shared.weight, got \(3, 32\)"
    ):
        writing.write(tmp_path / "c", TINY, params)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
