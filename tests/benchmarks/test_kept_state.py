"""The benchmark of kept states at the smallest size: equalities, not speeds."""

import json

import pytest

from benchmarks import random_models
from benchmarks.kept_state import __main__ as kept_state
from benchmarks.kept_state.ways import CONCATENATION, KEPT, REFERENCE
from hyperx.costs import alternatives
from hyperx.costs.stages import Use


def test_a_quick_run_writes_equal_outputs_and_a_report(tmp_path):
    kept_state.main(["--quick", "--rounds=2", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "kept_state.json").read_text())
    (case,) = found["cases"]
    assert case["equal_rows"] == case["rows"] == 2
    assert case["inputs"] == {KEPT: 3, CONCATENATION: 3, REFERENCE: 2}
    assert {len(seconds) for seconds in case["seconds"].values()} == {2}
    assert found["goals"] == []
    page = (tmp_path / "kept_state.md").read_text()
    assert "outputs that equal those of reference mode: 2 of 2" in page
    assert (tmp_path / "kept_state.png").stat().st_size > 1000


def test_ratios_and_break_even_follow_from_seconds():
    config = random_models.hint(random_models.backbone(quick=True))
    use = Use(condition=16, inputs=8, targets=8, rows=4)
    case = kept_state.Case(4)
    seconds = {"once": [3.0, 30.0], KEPT: [4.0, 40.0], CONCATENATION: [8.0, 80.0]}
    found = kept_state.against(config, use, case, seconds, CONCATENATION)
    # 100 examples: 200 seconds against 3 + 100.
    assert found["faster_by"].median == pytest.approx(200 / 103)
    costs = alternatives.of_model(config, use)
    analytic = costs[CONCATENATION].flops(100) / costs[KEPT].flops(100)
    assert found["part"] == pytest.approx(200 / 103 / analytic)
    assert found["break_even"] == 3
    slower = seconds | {CONCATENATION: [4.0, 40.0]}
    assert (
        kept_state.against(config, use, case, slower, CONCATENATION)["break_even"]
        is None
    )


def test_an_output_that_ends_is_no_measurement():
    way = kept_state.Way(lambda inputs, started, limit: [[[5, 1, 0]]], lambda c: c)
    turns = kept_state.Turns(way, [None], 3)
    turns.serve()
    with pytest.raises(RuntimeError, match="expected 3 tokens, got 1"):
        turns.best()
