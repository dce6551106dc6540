"""A run that is stopped, however that happens, goes on as if it had not been."""

import itertools
import json
import os
import pathlib
import random
import re
import signal
import time

import numpy as np
import pytest
from tiny_runs import (  # noqa: F401
    arguments,
    one_device,
    run,
    start,
    states_of,
)

from hyperx import cli
from hyperx.checkpoints.store import Store
from hyperx.runs import loop as loop_lib
from hyperx.runs import metrics_log

STEPS = 60
KILLS = 2
SAVING = dict(TRAIN_STEPS=STEPS, SAVE_PERIOD=2)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    metrics = run(folder, **SAVING | {"SAVE_PERIOD": STEPS})
    assert metrics["step"] == STEPS
    return folder


def kill_while_running(process, checkpoints, wait):
    """Kills a run `wait` seconds after its next checkpoint; returns the newest step."""
    before = Store(checkpoints).latest() or 0
    try:
        while (Store(checkpoints).latest() or 0) <= before:
            if process.poll() is not None:
                pytest.fail(f"the run ended early: {process.communicate()[0]}")
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    return Store(checkpoints).latest()


def assert_equal_bit_by_bit(folder, other):
    expected, got = states_of(folder), states_of(other)
    assert got.keys() == expected.keys()
    assert any(name.startswith("opt_state/") for name in expected)
    different = [n for n in expected if not np.array_equal(got[n], expected[n])]
    assert different == []


@pytest.mark.slow
def test_killed_at_any_moment_ends_as_if_unbroken(unbroken, tmp_path):
    folder, moments = tmp_path / "killed", random.Random(0)
    reached = [0]
    for _ in range(KILLS):
        process = start(folder, **SAVING)
        wait = moments.uniform(0.0, 0.3)
        reached.append(kill_while_running(process, folder / "checkpoints", wait))
    assert all(a < b for a, b in itertools.pairwise(reached)), reached
    assert reached[-1] < STEPS, "killed too late to prove anything"
    assert run(folder, **SAVING)["step"] == STEPS
    assert_equal_bit_by_bit(unbroken, folder)
    losses = [
        {record["step"]: record["values"]["loss"] for record in metrics_log.read(path)}
        for path in (unbroken, folder)
    ]
    assert losses[0] == losses[1]
    assert losses[0].keys() == set(range(1, STEPS + 1))


def test_sigterm_saves_and_exits_in_order(
    unbroken,
    tmp_path,
    cache,
    monkeypatch,
    capsys,
):
    folder = tmp_path / "terminated"
    finish = loop_lib.Loop._finish

    def terminated_at_step_7(self, step, *rest):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return finish(self, step, *rest)

    monkeypatch.setattr(loop_lib.Loop, "_finish", terminated_at_step_7)
    options = dict(TRAIN_STEPS=STEPS, SAVE_PERIOD=1000)
    handler = signal.getsignal(signal.SIGTERM)
    assert cli.main(arguments("train", folder, **options)) == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    # Metrics are read a step late, and the step after that was under way.
    assert Store(folder / "checkpoints").steps() in ([8], [9])
    assert cli.main(arguments("train", folder, **options)) == 0
    assert_equal_bit_by_bit(unbroken, folder)


def test_an_evaluation_that_was_left_out_is_made_up_for(tmp_path, monkeypatch):
    folder, asked = tmp_path / "m", []
    options = dict(TRAIN_STEPS=4, SAVE_PERIOD=2, EVAL_PERIOD=2)
    options |= dict(EVAL_EXAMPLES=4, EVAL_GROUPS=2, EVAL_ROWS=2)
    evaluate = loop_lib.Loop._evaluate

    def interrupted(self, state, step):
        asked.append(step)
        if asked == [2, 4]:
            raise KeyboardInterrupt
        evaluate(self, state, step)

    def evaluated():
        records = metrics_log.read(folder)
        return [r["step"] for r in records if r["collection"] == "eval"]

    monkeypatch.setattr(loop_lib.Loop, "_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, **options)
    assert Store(folder / "checkpoints").latest() == 4
    assert evaluated() == [2]
    for _ in range(2):
        assert run(folder, **options)["step"] == 4
        assert evaluated() == [2, 4]
    assert asked == [2, 4, 4]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x04
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Reads that Orbax abandoned may end after it closed its event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_is_refused_and_another_offered(
    unbroken, tmp_path, capsys
):
    folder = tmp_path / "damaged"
    run(folder, **SAVING | dict(TRAIN_STEPS=4, schedules__cosine__total_steps=STEPS))
    options = arguments("train", folder, **SAVING)
    newest = folder / "checkpoints" / "4"
    data = max((newest / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    for damage, path in (
        (flip, data),
        (cut, data),
        (pathlib.Path.unlink, data),
        (pathlib.Path.unlink, newest / "_CHECKPOINT_METADATA"),
        (pathlib.Path.unlink, newest / "state" / "manifest.ocdbt"),
    ):
        before = path.read_bytes()
        damage(path)
        there = sorted(path for path in folder.rglob("*") if path.is_file())
        capsys.readouterr()
        assert cli.main(options) == 1, (damage, path)
        message = capsys.readouterr().err.splitlines()[-1]
        assert re.search(
            r"^hyperx: error: expected checkpoint 4 in .* to be intact, got: .* "
            r"Other checkpoints there: \[2\]; move 4 away to continue from the newest",
            message,
        ), message
        assert there == sorted(path for path in folder.rglob("*") if path.is_file())
        path.write_bytes(before)

    flip(data)
    newest.rename(tmp_path / "4")
    assert cli.main(options) == 0
    assert_equal_bit_by_bit(unbroken, folder)


def test_training_goes_on_to_a_later_step_and_not_beyond(unbroken):
    saved = Store(unbroken / "checkpoints").steps()
    assert run(unbroken, **SAVING) == {"step": STEPS, "total_steps": STEPS}
    assert Store(unbroken / "checkpoints").steps() == saved


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, capsys):
    folder = tmp_path / "poisoned"
    options = dict(TRAIN_STEPS=8, SAVE_PERIOD=1, schedules__cosine__peak=1e30)
    assert cli.main(arguments("train", folder, "inputs_only", **options)) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    found = re.search(
        r"expected a finite loss, gradient and update at step (\d+), got loss .* "
        r"step (\d+) is intact$",
        message,
    )
    assert found, message
    failed, good = map(int, found.groups())
    store = Store(folder / "checkpoints")
    assert store.latest() == good == failed - 1
    for name, leaf in states_of(folder).items():
        assert np.all(np.isfinite(leaf)), name


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"VOCAB_SIZE": 256}, "model.backbone.vocab_size: expected 256, got 128"),
        ({"ADAPTER_SIZE": 4}, "model.method.bottleneck: expected 4, got 8"),
        ({"method": "concatenation"}, "model.method.type: expected 'hyperx.methods."),
    ],
)
def test_another_model_in_its_directory_is_refused(unbroken, capsys, other, field):
    assert cli.main(arguments("train", unbroken, **SAVING | other)) == 1
    error = capsys.readouterr().err
    assert field in error
    assert "Choose another MODEL_DIR" in error
    assert "Traceback" not in error


def test_how_it_is_computed_may_change_between_runs(unbroken):
    lengths = dict(condition=20, inputs=8, prompt=28, targets=8)
    other = dict(
        DROPOUT_RATE=0.2, REMAT="dots", COMPUTE_DTYPE="bfloat16",
        TASK_FEATURE_LENGTHS=lengths,
    )  # fmt: skip
    assert run(unbroken, **SAVING | other)["step"] == STEPS
    described = json.loads((unbroken / "model.json").read_text())
    backbone = described["model"]["backbone"]
    assert described["feature_lengths"] == lengths
    assert (backbone["dropout_rate"], backbone["remat"]) == (0.2, "dots")
    assert backbone["dtype"] == "bfloat16"
