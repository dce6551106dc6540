"""The benchmark of compile time at the smallest size."""

import dataclasses
import json

import pytest
from conftest import TINY, tiny_hint

from benchmarks import random_models
from benchmarks.compile_time import __main__ as compile_time
from benchmarks.compile_time import programs


def job(program, *, layers=1, unrolled=False):
    backbone = dataclasses.replace(
        TINY, num_encoder_layers=layers, num_decoder_layers=layers
    )
    return programs.Job(
        program=program,
        config=tiny_hint(backbone),
        sizes=compile_time.QUICK_SIZES,
        unrolled=unrolled,
    )


def test_the_second_process_finds_what_the_first_has_compiled(tmp_path, monkeypatch):
    jobs = [job(programs.DECODING, layers=layers) for layers in (1, 2)]
    monkeypatch.setattr(compile_time, "_jobs", lambda quick: jobs)
    compile_time.main(["--quick", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "compile_time.json").read_text())["programs"]
    assert [row["layers"] for row in found] == [1, 2]
    for row in found:
        assert not row["from_cache"]
        assert row["cached"]["from_cache"]
        assert row["bytes_at_once"] == row["cached"]["bytes_at_once"] > 0
    assert found[1]["bytes_at_once"] > found[0]["bytes_at_once"]
    assert (tmp_path / "compile_time.png").stat().st_size > 1000


@pytest.mark.parametrize("unrolled", [False, True])
def test_unrolled_layers_are_no_loop(unrolled):
    mesh = random_models.one_device()
    own = job(programs.TRAINING, layers=2, unrolled=unrolled)
    lowered, seconds = programs.traced(own, mesh)
    text = lowered.as_text()
    assert ("stablehlo.while" in text) != unrolled
    assert seconds > 0
