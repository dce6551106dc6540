"""`hyperx cost`: what it prints, writes and draws."""

import json

import matplotlib.image
import numpy as np
import pytest

from hyperx import cli
from hyperx.runs import cost_report

FILES = ("--gin_file=backbones/t5_1_1_tiny.gin", "--gin_file=methods/hint.gin")
ALTERNATIVES = ["kept state", "reference mode", "concatenation", "decoder-only"]


def cost(*flags):
    return cli.main(["cost", *FILES, *flags])


def test_json_tables_and_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    flags = ("--examples=50", "--condition_length=64", "--input_length=8", "--rows=4")
    assert cost(*flags, "--target_length=4", "--beams=2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["use"] == dict(condition=64, inputs=8, targets=4, rows=4, beams=2)
    assert told["backbone"]["dtype"] == "bfloat16"
    found = told["alternatives"]
    assert list(found) == ALTERNATIVES
    for name in ALTERNATIVES:
        flops, memory = found[name]["flops"], found[name]["memory"]
        for key, stages in (("task", "once"), ("example", "each")):
            parts = [stage["flops"] for stage in found[name][stages].values()]
            assert sum(parts) == pytest.approx(flops[key])
        assert flops["all_examples"] == flops["task"] + 50 * flops["example"]
        whole = memory["parameters"] + memory["task"] + 4 * memory["row"]
        assert memory["one_task"] == whole
    pays = found["concatenation"]["break_even"]
    assert 1 < pays < 50

    output = f"--output={tmp_path}/cost"
    assert cost(*flags, "--target_length=4", "--beams=2", output) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ALTERNATIVES)
    assert f"from {pays} on" in shown
    assert "…" not in shown
    assert json.loads((tmp_path / "cost" / "cost.json").read_text()) == told
    picture = matplotlib.image.imread(tmp_path / "cost" / "cost.png")
    colours = {tuple(np.round(c[:3] * 255).astype(int)) for c in picture.reshape(-1, 4)}
    for name in ALTERNATIVES:
        code = cost_report._COLOURS[name].lstrip("#")
        assert tuple(int(code[i : i + 2], 16) for i in (0, 2, 4)) in colours, name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--gin.cost.cost.examples=0",), "expected at least 1 example, got 0"),
        (("--gin.cost.cost.rows=0",), "expected at least 1 for rows, got 0"),
        (('--gin.cost.cost.dtype="int8"',), "expected dtype to be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, message, capsys):
    assert cost(*flags) == 1
    assert message in capsys.readouterr().err


def test_flags_are_positive_numbers(capsys):
    with pytest.raises(SystemExit, match="2"):
        cost("--condition_length=0")
    assert "expected a positive number, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999.4, "999"),
        (999.6, "1 k"),
        (2.707e12, "2.71 T"),
        (1.19e15, "1.19 P"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert cost_report.short(value) == text


def test_bytes_have_binary_prefixes():
    assert cost_report.binary(0) == "0 B"
    assert cost_report.binary(305 * 2**20) == "305 MiB"
