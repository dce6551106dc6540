"""The page about writing one's own method says what works."""

import pathlib
import re
import sys

import pytest
from tiny_runs import bindings, one_device  # noqa: F401

import hyperx
from hyperx import cli

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "your_own_method.md"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's files, in the working directory."""
    text = PAGE.read_text(encoding="utf-8")
    for language, name in (("python", "steering.py"), ("gin", "steering.gin")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("steering", None)


@pytest.mark.usefixtures("files")
def test_the_example_trains_and_adapts(tmp_path, capsys):
    given = [f"--gin.{line}" for line in bindings(tmp_path / "out", TRAIN_STEPS=1)]
    configuration = ["--gin_file=runs/toyworld.gin", "--gin_file=steering.gin"]
    assert cli.main(["train", *configuration, *given]) == 0
    model = hyperx.load(tmp_path / "out")
    state = model.adapt("drop a")
    assert state.decoder.self_attention.prefix.key.shape == (2, 1, 1, 4, 16)
    assert len(model.generate(["x a"], state, max_new_tokens=2)) == 1
    assert cli.main(["inspect", *configuration, *given]) == 0
    assert "SteeringMethod" in capsys.readouterr().out
