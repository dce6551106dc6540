"""The benchmark against transformers at the smallest size: equalities, not speeds."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.against_transformers import __main__ as against_transformers
from benchmarks.against_transformers.pair import OURS, THEIRS, Part, Side


def test_a_quick_run_computes_the_same_and_writes_a_report(tmp_path):
    against_transformers.main(["--quick", "--rounds=2", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "against_transformers.json").read_text())
    names = ["greedy decoding", "beam-4 decoding", "training step"]
    assert [part["part"] for part in found["parts"]] == names
    for part in found["parts"]:
        for seconds in (part["seconds"], part["processor_seconds"]):
            rounds = {name: len(own) for name, own in seconds.items()}
            assert rounds == {OURS: 2, THEIRS: 2}
    page = (tmp_path / "against_transformers.md").read_text()
    assert all(name in page for name in names)
    assert (tmp_path / "against_transformers.png").stat().st_size > 1000


def test_what_differs_is_not_compared():
    sides = {OURS: Side(lambda: 1.0), THEIRS: Side(lambda: 2.0)}
    part = Part("sum", "1 and 1", sides, lambda one, other: one == other, 1.0)
    with pytest.raises(RuntimeError, match="the same sum of both, got 1.0 and 2.0"):
        against_transformers.measured(part, 1)
