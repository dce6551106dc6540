"""The benchmark of mixed batches at the smallest size: equalities, not speeds."""

import json

from benchmarks import mixed_tasks


def test_a_quick_run_compares_equal_outputs(tmp_path):
    mixed_tasks.main(["--quick", "--rounds=2", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "mixed_tasks.json").read_text())
    assert found["equal_rows"] == found["compared"] == 2 * found["rows"]
    assert [mix["tasks"] for mix in found["mixes"]] == [1, 4]
    assert all(len(mix["seconds_together"]) == 2 for mix in found["mixes"])
    bank = found["bank"]
    assert bank["states"] == found["tasks"]
    assert bank["bytes_of_all"] == found["tasks"] * bank["bytes_of_one"]
    assert (tmp_path / "mixed_tasks.png").stat().st_size > 1000
    assert "Outputs that are the same in both ways: 8 of 8" in (
        tmp_path / "mixed_tasks.md"
    ).read_text(encoding="utf-8")
