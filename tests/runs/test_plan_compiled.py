"""Plans, compiled by libtpu for slices that this machine does not have."""

import importlib.util
import json
import re

import jax
import pytest

from hyperx import cli, model
from hyperx.config import t5_1_1
from hyperx.methods.plain import Plain
from hyperx.runs.planning.slices import CHIPS, Slice
from hyperx.runs.train import TrainingData

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu: pip install 'hyperx[plan]'",
)

# A run whose data are nowhere, with a vocabulary that is nowhere either.
RUN = (
    "--gin_file=runs/super_ni.gin",
    "--gin_file=data/p3.gin",
    "--gin_file=backbones/t5_1_1_tiny.gin",
    "--gin_file=methods/inputs_only.gin",
    "--gin.P3_DIR='nowhere'",
    "--gin.SUPER_NI_DIR='nowhere'",
    "--gin.VOCABULARY='nowhere.model'",
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 8}",
    "--gin.VOCAB_SIZE=128",
)
SMALL = ("--topology=v5e:2x2", "--mesh=data=2,model=2", "--json")


@pytest.fixture(autouse=True)
def _nothing_is_read(monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("a plan read data")

    monkeypatch.setattr(TrainingData, "load", load)


def planned(capsys, *flags):
    """The exit code of a plan and what it printed as JSON."""
    code = cli.main(["plan", *RUN, *flags])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    assert "compiling the " in printed.err
    return code, json.loads(printed.out)


def test_a_training_step_that_fits(capsys):
    code, told = planned(capsys, *SMALL, "--gin.BATCH_SIZE=16", "--gin.ROWS=4")
    (program,) = told["programs"]
    assert (code, told["fits"], told["suggestions"]) == (0, True, [])
    assert (told["chips"], told["groups"], told["dtype"]) == (4, 4, "bfloat16")
    config = model.ModelConfig(
        backbone=t5_1_1("tiny", vocab_size=128), method=Plain(reads="inputs")
    )
    shapes = jax.tree.leaves(model.abstract_parameters(config).shapes)
    assert told["parameters"] == sum(leaf.size for leaf in shapes)
    # What has heads, hidden units or words lies on two chips; norms lie on both.
    whole = sum(4 * leaf.size for leaf in shapes if min(leaf.shape) < 16)
    split = sum(4 * leaf.size for leaf in shapes) - whole
    assert split / 2 < program["arguments"]["parameters"] <= split / 2 + whole
    # Two of four groups: 4 rows of 16 tokens, and of 8 three times.
    assert program["arguments"]["batch"] == 2 * 4 * (16 + 3 * 8) * 4
    given = sum(program["arguments"].values())
    assert program["memory"]["argument"] >= given
    # The state is updated in place; only metrics and the step number come besides.
    state = given - program["arguments"]["batch"]
    assert program["memory"]["alias"] >= state
    assert 0 < program["peak"] < told["hbm"]
    assert program["flops"] > program["compiler_flops"] > 0
    assert program["collectives"]["all-reduce"]["count"] > 0


def test_decoding_that_fits(capsys):
    flags = ("--decode", "--gin.EVAL_GROUPS=4", "--gin.EVAL_ROWS=3")
    code, told = planned(capsys, *SMALL, *flags)
    names = [program["name"] for program in told["programs"]]
    assert (code, names) == (0, ["adaptation", "decoding"])
    decoding = told["programs"][1]
    assert "optimizer state" not in decoding["arguments"]
    # Of three rows the predictor makes four.
    assert decoding["arguments"]["tokens"] == 4 * 4 * 16 * 4
    assert decoding["flops"] > 0


def test_a_step_that_does_not_fit_says_what_would(capsys):
    flags = ("--gin.BATCH_SIZE=16", "--gin.ROWS=4", "--gin.VOCAB_SIZE=33554432")
    code, told = planned(capsys, *SMALL[:1], "--mesh=data=4", "--json", *flags)
    (program,) = told["programs"]
    assert (code, told["fits"]) == (1, False)
    assert program["message"].startswith("RESOURCE_EXHAUSTED")
    assert program["peak"] > told["hbm"] == 15.75 * 2**30
    needed = program["memory"]["temporary"] + sum(program["arguments"].values())
    assert needed == program["peak"]
    assert {one["path"] for one in program["largest"][:2]} == {
        "parameters/token_embedder/embedding",
        "parameters/decoder/logits_dense/kernel",
    }
    assert program["largest"][0]["bytes"] == 33554432 * 64 * 4
    assert any("MODEL_PARALLEL=4" in text for text in told["suggestions"])


@pytest.mark.parametrize("generation", CHIPS)
def test_a_chip_has_the_memory_that_its_compiler_says(generation):
    chip = CHIPS[generation]
    shape = "x".join(["2", "2", "1"][: chip.axes])
    device, *others = Slice.parse(f"{generation}:{shape}").devices()
    assert len(others) == 3
    where = jax.sharding.SingleDeviceSharding(device)
    large = jax.ShapeDtypeStruct((2**36,), "float32", sharding=where)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED") as told:
        jax.jit(lambda x: 2 * x).lower(large).compile()
    limit = re.search(r"available HBM \(([\d.]+)G\)", str(told.value))
    assert float(limit[1]) == chip.usable


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--topology=v5e:2x3",), "a slice that exists"),
        (("--topology=v5e:2x2", "--mesh=data=3"), "the 4 chips of 1 x v5e:2x2"),
        (("--topology=v5e:2x2", "--gin.ROWS=16"), "the conditions of a batch"),
        (("--topology=v5e:2x2", "--mesh=model=8"), "the 4 chips"),
    ],
)
def test_what_cannot_be_planned_is_an_error(capsys, flags, expected):
    assert cli.main(["plan", *RUN, *flags]) == 1
    printed = capsys.readouterr()
    assert expected in printed.err
    assert not printed.out


def test_several_slices_are_told_apart():
    devices = Slice.parse("v5e:2x2", 2).devices()
    assert sorted(device.slice_index for device in devices) == [0] * 4 + [1] * 4
