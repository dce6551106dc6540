"""`hyperx export --state`: what leaves, what is refused, and what comes back."""

import json
import re
import typing

import jax
import numpy as np
import pytest
from conftest import TINY, tiny_hint
from exit_states import (
    FAMILIES,
    OLD,
    all_kinds,
    batch,
    decoder_prefix,
    ia3_everywhere,
    ia3_of_values,
    lora_everywhere,
    lora_here_and_there,
    numpy_rng,
    predictor_of,
    soft_prompt,
)
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from hyperx import cli
from hyperx.adaptation import Part
from hyperx.checkpoints import description
from hyperx.checkpoints.huggingface import names, reading
from hyperx.checkpoints.store import Store
from hyperx.inference import merging
from hyperx.inference.predictor import Predictor
from hyperx.methods.hyperdecoders import Hyperdecoders
from hyperx.methods.lora import Lora
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig, abstract_parameters
from hyperx.runs import models
from hyperx.runs.exits import described, peft
from hyperx.task_state import TaskState, load_state


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["lora", "some lora", "ia3", "some ia3"])
def test_peft_names_the_linear_layers_that_it_has_weights_for(family, kind):
    backbone = FAMILIES[family]
    state = {
        "lora": lambda: lora_everywhere(backbone),
        "some lora": lora_here_and_there,
        "ia3": ia3_everywhere,
        "some ia3": ia3_of_values,
    }[kind]()
    config, arrays = peft.adapter(state)
    linear = {
        tensor.name.removesuffix(".weight"): tensor.shape
        for tensor in names.tensors(backbone)
        if tensor.transpose and tensor.layer is not None
    }
    matched = {name for name in linear if re.fullmatch(config["target_modules"], name)}
    found: dict[str, dict] = {name: {} for name in matched}
    for name, array in arrays.items():
        module, _, weight = name.removeprefix("base_model.model.").partition(".lora_")
        module, _, factor = module.partition(".ia3_l")
        found[module][weight or factor or "ia3_l"] = array.shape
    reading = config.get("feedforward_modules", "") or "nothing"
    for module, shapes in found.items():
        written, read = linear[module]
        if "lora" in kind:
            rank = shapes["A.weight"][0]
            expected = {"A.weight": (rank, read), "B.weight": (written, rank)}
        elif re.fullmatch(reading, module):
            expected = {"ia3_l": (1, read)}
        else:
            expected = {"ia3_l": (written, 1)}
        assert shapes == expected, module


def test_ranks_and_factors_that_differ_have_patterns():
    config, _ = peft.adapter(lora_here_and_there())
    assert (config["r"], config["lora_alpha"]) == (3, 3.75)
    ranks = {k.rpartition(".")[2]: v for k, v in config["rank_pattern"].items()}
    alphas = {k.rpartition(".")[2]: v for k, v in config["alpha_pattern"].items()}
    assert ranks == {"v": 2, "wo": 5}
    assert alphas == {"v": pytest.approx(0.8), "wo": 6.25}
    config, _ = peft.adapter(lora_everywhere(TINY))
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def with_both(state, other):
    return state.replace(decoder=other.decoder)


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (
            all_kinds(1),
            r"LowRank .*; Adapter \(encoder/mlp/adapter\);.*; Memory \(memory\)",
        ),
        (
            with_both(lora_everywhere(TINY), ia3_of_values()),
            r"LowRank \(encoder.*; Scale \(decoder/cross_attention/scale/value\)",
        ),
        (
            TaskState(encoder=decoder_prefix().decoder),
            r"Prefix \(encoder/self_attention/prefix\)",
        ),
        (
            decoder_prefix().replace(prompt=soft_prompt().prompt),
            r"Prefix \(decoder/self_attention/prefix\); Prompt \(prompt\)",
        ),
        (TaskState(), "nothing"),
    ],
    ids=["all", "two kinds", "encoder prefix", "prefix and prompt", "empty"],
)
def test_what_peft_cannot_hold_is_named(state, named, tmp_path):
    holds = r"expected one of the following, .*: low-rank updates.*prompt tuning.*; "
    with pytest.raises(ValueError, match=f"{holds}got a state with {named}"):
        peft.write(tmp_path / "peft", state)
    assert not (tmp_path / "peft").exists()


def test_peft_needs_one_condition_and_for_prefixes_a_model():
    with pytest.raises(ValueError, match="expected a state of one condition, got 2"):
        peft.adapter(lora_here_and_there(groups=2))
    with pytest.raises(ValueError, match="expected the model .*--model_dir"):
        peft.adapter(decoder_prefix())


def test_json_comes_back_to_the_bit_and_describes_every_array(tmp_path):
    state = all_kinds()
    described.write(tmp_path / "json", state)
    back = load_state(tmp_path / "json" / "adaptation.safetensors")
    assert jax.tree.structure(back) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, back, state)
    told = json.loads((tmp_path / "json" / "adaptation.json").read_text())
    assert told["fingerprint"] == "0123456789abcdef"
    assert told["conditions"] == 2
    arrays = load_file(tmp_path / "json" / "adaptation.safetensors")
    assert told["arrays"].keys() == arrays.keys()
    for name, array in told["arrays"].items():
        assert tuple(array["shape"]) == arrays[name].shape
        assert array["dtype"] == str(arrays[name].dtype)
        assert len(array["axes"]) == arrays[name].ndim
        assert set(array["axes"]) <= told["axes"].keys()
        assert any(
            name == path or name.startswith(path + "/") for path in told["parts"]
        )
    assert {part["kind"] for part in told["parts"].values()} == told["kinds"].keys()
    assert told["parts"]["encoder/mlp/adapter"] == {
        "kind": "Adapter",
        "activation": "relu",
        "placement": "sequential",
    }
    assert told["parts"]["decoder/mlp/low_rank/wo"] == {
        "kind": "LowRank",
        "scale": 1.25,
    }


@pytest.mark.parametrize("state", [lora_here_and_there(), ia3_everywhere()])
def test_json_is_enough_to_change_kernels(tmp_path, state):
    """With numpy alone, as the description says."""
    described.write(tmp_path / "json", state)
    told = json.loads((tmp_path / "json" / "adaptation.json").read_text())
    arrays = load_file(tmp_path / "json" / "adaptation.safetensors")
    params = predictor_of(TINY).params
    flat = flatten_dict(params, sep="/")
    modules = {("encoder", "self_attention"): "attention"}
    modules["decoder", "cross_attention"] = "encoder_decoder_attention"
    for path, part in told["parts"].items():
        stack, site, _, name = path.split("/")
        kernel = "wo" if name == "hidden" else name
        module = modules.get((stack, site), site)
        target = f"{stack}/layers/{module}/{kernel}/kernel"
        if part["kind"] == "LowRank":
            a, b = (arrays[f"{path}/{x}"][:, 0] for x in "ab")
            flat[target] = flat[target] + part["scale"] * np.swapaxes(a, 1, 2) @ b
        else:
            factor = arrays[f"{path}/factor"][:, 0]
            factor = factor[:, :, None] if name == "hidden" else factor[:, None]
            flat[target] = flat[target] * factor
    merged = flatten_dict(merging.merge(params, state), sep="/")
    for name, array in merged.items():
        np.testing.assert_allclose(array, flat[name], atol=1e-6, rtol=1e-6)


def model_dir(folder, config):
    """A model of random parameters, of which step 2 is the newest; and these."""
    rng = numpy_rng()
    params = jax.tree.map(
        lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
        abstract_parameters(config).shapes,
    )
    with Store(folder / models.CHECKPOINTS) as store:
        for step in (1, 2):
            store.save(step, {"params": jax.tree.map(lambda x, s=step: x / s, params)})
    description.write(folder, models.describe(config, None, {}))
    return folder


@pytest.fixture(scope="module", params=[TINY, OLD], ids=["v1.1", "v1.0"])
def lora(request, tmp_path_factory):
    """The folder of a LoRA model, and the file of its state."""
    method = Lora(rank=3, projections=("query", "value", "wo"))
    folder = tmp_path_factory.mktemp("lora")
    model_dir(folder / "model", ModelConfig(backbone=request.param, method=method))
    argv = ["adapt", f"--model_dir={folder}/model", f"--output={folder}/state"]
    assert cli.main(argv) == 0
    return folder / "model", folder / "state"


def export(state, to, output, *flags):
    return cli.main(
        ["export", f"--state={state}", f"--to={to}", f"--output={output}", *flags]
    )


def test_commands_merge_describe_and_write_peft(lora, tmp_path, capsys):
    directory, state = lora
    own = f"--model_dir={directory}"
    assert export(state, "hf", tmp_path / "hf", own) == 0
    assert capsys.readouterr().out.endswith(f"exported {state} to {tmp_path}/hf\n")
    backbone, params = reading.read(tmp_path / "hf")
    plain = Predictor(ModelConfig(backbone=backbone, method=Plain()), params, None, {})
    tokens, decoder = batch()
    expected = models.load(directory).logits(tokens, decoder, load_state(state))
    np.testing.assert_allclose(plain.logits(tokens, decoder), expected, atol=1e-4)

    assert export(state, "json", tmp_path / "json", own) == 0
    told = json.loads((tmp_path / "json" / "adaptation.json").read_text())
    assert ModelConfig.from_json(told["model"]) == models.load(directory).config
    assert export(state, "json", tmp_path / "unchecked") == 0
    told = json.loads((tmp_path / "unchecked" / "adaptation.json").read_text())
    assert told["model"] is None

    assert export(state, "peft", tmp_path / "peft", own, "--dtype=bfloat16") == 0
    assert export(state, "peft", tmp_path / "peft32") == 0
    wide = load_file(tmp_path / "peft32" / "adapter_model.safetensors")
    assert {array.dtype for array in wide.values()} == {np.dtype("float32")}
    told = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert told["peft_type"] == "LORA"
    again = f"expected a new or empty directory, got {tmp_path}/peft"
    assert export(state, "peft", tmp_path / "peft") == 1
    assert again in capsys.readouterr().err


@pytest.mark.parametrize("to", ["peft", "hf", "json"])
def test_a_state_of_another_model_is_refused(lora, tmp_path, capsys, to):
    directory, state = lora
    flags = (f"--model_dir={directory}", "--step=1")
    assert export(state, to, tmp_path / "out", *flags) == 1
    message = r"expected a state of model \w{16}, got one of model \w{16}; --step"
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_weights_of_single_inputs_are_refused(tmp_path, capsys):
    method = Hyperdecoders()
    directory = model_dir(tmp_path / "model", ModelConfig(backbone=TINY, method=method))
    argv = ["adapt", f"--model_dir={directory}", f"--output={tmp_path}/state"]
    assert cli.main(argv) == 0
    flags = (f"--model_dir={directory}",)
    assert export(tmp_path / "state", "hf", tmp_path / "hf", *flags) == 1
    message = "got Hyperdecoders, which writes them for every single input"
    assert message in capsys.readouterr().err


def test_what_no_kernel_can_hold_is_refused(tmp_path, capsys):
    directory = model_dir(tmp_path / "model", tiny_hint())
    predictor = models.load(directory)
    state = predictor.adapt_tokens(np.array([[5, 6, 1]]))
    state.save(tmp_path / "state")
    flags = (f"--model_dir={directory}",)
    assert export(tmp_path / "state", "hf", tmp_path / "hf", *flags) == 1
    found = "factors only, got encoder/self_attention/prefix, encoder/mlp/adapter"
    assert found in capsys.readouterr().err
    assert export(tmp_path / "state", "peft", tmp_path / "peft", *flags) == 1
    assert "Memory (memory)" in capsys.readouterr().err
    assert export(tmp_path / "state", "json", tmp_path / "json", *flags) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to=peft"], "expected --to=hf or t5x for a model, got --to=peft; a state"),
        (["--to=hf"], "expected --model_dir with --to=hf, got none"),
        (["--to=t5x", "--state=s"], "--to=peft or hf or json for a state (--state), "),
        (["--to=hf", "--state=s"], "expected --model_dir with --to=hf, got none"),
        (["--to=peft", "--state=s", "--step=3"], "expected --model_dir with --step"),
        (
            ["--to=peft", "--state=s", "--backbone_only"],
            "expected --backbone_only without --state",
        ),
        (["--to=json", "--state=s", "--dtype=bfloat16"], "expected no --dtype with"),
        (["--to=peft", "--state=absent"], "expected a task state at absent, found no"),
    ],
)
def test_contradicting_flags_are_refused(tmp_path, capsys, flags, message):
    assert cli.main(["export", f"--output={tmp_path}/out", *flags]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_state_has_nothing_to_describe(tmp_path):
    with pytest.raises(ValueError, match="a memory or a prompt, got none"):
        described.write(tmp_path / "json", TaskState())


def test_every_kind_of_part_is_explained():
    kinds = {kind.__name__ for kind in typing.get_args(Part)}
    assert kinds | {"Memory", "Prompt"} == described._APPLIED.keys()
