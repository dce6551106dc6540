"""The commands `adapt` and `tune`: what they write, say and refuse."""

import json

import jax
import numpy as np
import pytest
from conftest import tiny_hint
from letters import ROWS, predictor

from hyperx import load_state
from hyperx.inference import starts
from hyperx.runs import adapt, models, tune


@pytest.fixture(scope="module")
def hint():
    return predictor(tiny_hint())


def _equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def files(hint, tmp_path, monkeypatch):
    """Arguments of the command in a folder with all that it reads."""
    monkeypatch.setattr(models, "load", lambda *args: hint)
    adapt.adapt(model_dir="m", output=tmp_path / "task.safetensors", condition="do")
    lines = "".join(json.dumps(row | {"line": 1}) + "\n" for row in ROWS)
    (tmp_path / "train.jsonl").write_text(lines)
    (tmp_path / "others.txt").write_text("first\n\nsecond\n")
    return dict(
        model_dir="m",
        state=tmp_path / "task.safetensors",
        data=tmp_path / "train.jsonl",
        output=tmp_path / "tuned.safetensors",
        steps=4,
        batch_size=3,
        eval_period=2,
    )


def test_adapt_writes_a_state_and_says_its_size(hint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "load", lambda *args: hint)
    path = tmp_path / "two.safetensors"
    made = adapt.adapt(model_dir="m", output=path, condition=["do", "swap"])
    _equal(load_state(path), hint.adapt(["do", "swap"]))
    numbers = sum(leaf.size for leaf in jax.tree.leaves(made))
    says = f"{path}: 2 conditions, {numbers:,} numbers, {made.nbytes:,} bytes\n"
    assert capsys.readouterr().out == says
    with pytest.raises(FileNotFoundError, match="expected a folder.*none"):
        adapt.adapt(model_dir="m", output=tmp_path / "none" / "x")


def test_a_comparison_has_a_curve_per_start(hint, files, capsys):
    folder = files["output"].parent
    results = tune.tune(
        **files,
        compare=True,
        shared_conditions=folder / "others.txt",
        validation=files["data"],
    )
    assert (folder / "tuned_compare.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((folder / "tuned_compare.json").read_text())
    assert list(content["starts"]) == ["generated", "shared", "random"]
    memory = results["generated"].state.memory
    for name, entry in content["starts"].items():
        assert [point["step"] for point in entry["curve"]] == [0, 2, 4]
        assert entry["best"]["loss"] == results[name].best.loss
        _equal(results[name].state.memory, memory)
    written = load_state(files["output"])
    _equal(written, results["generated"].state)
    assert len(hint.generate(["abc"], written)) == 1
    assert len({e["curve"][0]["loss"] for e in content["starts"].values()}) == 3
    for entry in content["starts"].values():
        assert entry["reaches"]["reached by all"] is not None
    assert content["starts"]["generated"]["reaches"]["generated at step 0"] == 0
    assert "validation data" in capsys.readouterr().out


def test_the_start_that_is_asked_for_is_written(files, capsys):
    results = tune.tune(**files | {"steps": 0}, init="random")
    assert results.keys() == {"random"}
    assert not list(files["output"].parent.glob("*_compare*"))
    assert "measured on the training data, 4 examples" in capsys.readouterr().out
    expected = starts.random(load_state(files["state"]), jax.random.key(0))
    _equal(load_state(files["output"]), expected)
    with pytest.raises(ValueError, match="expected shared_conditions.*got none"):
        tune.tune(**files, init="shared")


def test_a_divergence_leaves_the_best_state_before(files):
    with pytest.raises(FloatingPointError, match=r"none at step [12].*that of step 0"):
        tune.tune(**files, learning_rate=1e38)
    _equal(load_state(files["output"]), load_state(files["state"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"input": "a", "output": ', "line 3: expected a JSON object"),
        (b'["a"]', "line 3: expected a JSON object, got list"),
        (b'{"input": "a"}', "line 3: expected a string 'output', got None"),
        (b'{"input": 1, "output": "b"}', "line 3: expected a string 'input', got 1"),
        (b'{"input": "\xff", "output": "b"}', "line 3: expected UTF-8"),
        (b'{"input": "A", "output": "b"}', "line 3: expected letters, got 'A'"),
        (b"[]\n\n{}", "line 3: .*got list \\(and 1 more: 5\\)"),
    ],
)
def test_malformed_lines_are_one_error(files, content, message):
    good = b'{"input": "a", "output": "b"}'
    files["data"].write_bytes(b"\n".join([good, b"", content, good]))
    with pytest.raises(ValueError, match=message) as error:
        tune.tune(**files)
    assert str(error.value).startswith(str(files["data"]))
    assert "\n" not in str(error.value)
    assert not files["output"].exists()


def test_missing_files_are_named(files, tmp_path):
    for name in ("state", "data", "validation", "shared_conditions"):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            tune.tune(**files | {name: tmp_path / "nowhere"})
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        tune.tune(**files | {"output": tmp_path / "none" / "x"})
    files["data"].write_text("\n")
    with pytest.raises(ValueError, match="expected JSON lines.*got none"):
        tune.tune(**files)
