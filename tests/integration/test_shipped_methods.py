"""Every shipped method through the commands: trained, evaluated, asked, kept."""

import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from tiny_runs import arguments, one_device, states_of  # noqa: F401

import hyperx
from hyperx import cli
from hyperx.optim import freezing
from hyperx.runs import configuration, gin_files
from hyperx.runs import train as train_lib

STEPS = 3  # zeros in one factor of a product hold the other still at first
METHODS = sorted(
    name.removeprefix("methods/").removesuffix(".gin")
    for name in gin_files.listing("methods")
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """The directory of a plain model, trained for a step."""
    folder = tmp_path_factory.mktemp("backbone")
    assert cli.main(arguments("train", folder, "concatenation", TRAIN_STEPS=1)) == 0
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_from_training_to_a_kept_state(name, backbone, tmp_path, monkeypatch, capsys):
    received = _recorded_start(monkeypatch)
    folder = tmp_path / "model"
    options = dict(TRAIN_STEPS=STEPS, INITIAL_CHECKPOINT_PATH=str(backbone))
    assert cli.main(arguments("train", folder, name, **options)) == 0
    _check_what_moved(states_of(folder), received, configuration.macro("FROZEN"))

    argv = ["eval", f"--model_dir={folder}", "--gin.EVAL_EXAMPLES=4"]
    assert cli.main([*argv, "--gin.EVAL_GROUPS=2", "--gin.EVAL_ROWS=2"]) == 0
    assert "exact match" in capsys.readouterr().out

    predictor = hyperx.load(folder)
    reads = predictor.config.method.reads
    condition = {"condition": "drop a", "task": "sub"}.get(reads)
    source, answers = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = {"input": "x a c"} | ({"condition": condition} if condition else {})
    source.write_text(json.dumps(line))
    argv = ["infer", f"--model_dir={folder}", "--max_new_tokens=3"]
    assert cli.main([*argv, f"--input={source}", f"--output={answers}"]) == 0
    (answer,) = map(json.loads, answers.read_text().splitlines())

    state = predictor.adapt(condition)
    state.save(tmp_path / "state")
    kept = hyperx.load_state(tmp_path / "state")
    assert predictor.generate(["x a c"], kept, max_new_tokens=3) == [answer["output"]]


def _recorded_start(monkeypatch):
    """Receives the parameters that a run starts from, by path."""
    received = {}
    load_initial = train_lib.load_initial

    def recorded(*args):
        merged, counts = load_initial(*args)
        for path, leaf in jax.tree_util.tree_leaves_with_path(merged):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            received[name] = np.array(leaf)
        return merged, counts

    monkeypatch.setattr(train_lib, "load_initial", recorded)
    return received


def _check_what_moved(states, start, frozen):
    """All that is not frozen has moved; the rest is equal to the bit."""
    after = {
        path.removeprefix("params/"): leaf
        for path, leaf in states.items()
        if path.startswith("params/")
    }
    names = unflatten_dict({name: name for name in start}, sep="/")
    trained, _ = freezing.split(names, frozen)
    moved = {name for name in start if not np.array_equal(after[name], start[name])}
    assert moved == set(flatten_dict(trained, sep="/").values())
