"""Two processes train as one does, and whatever ends them, the same command goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from tiny_runs import arguments, run, states_of

from hyperx import sharding
from hyperx.checkpoints.store import Store
from hyperx.runs import metrics_log

STEPS = 6
EVALUATED = dict(TRAIN_STEPS=STEPS, SAVE_PERIOD=3, EVAL_PERIOD=STEPS, EVAL_EXAMPLES=8)
# A model that compiles sooner, which saves so often that it can be caught in between.
KILLED_STEPS = 30
KILLED = dict(method="concatenation", TRAIN_STEPS=KILLED_STEPS, SAVE_PERIOD=2)
# How long it may take to notice that a process is gone, and to leave.
BOUND = 40
# What a process says then: in a step, in a save, and JAX when a heartbeat is missing.
NOTICED = (
    "hyperx: error: process 0 of 2 failed in what all compute together: ",
    "hyperx: error: expected to write checkpoint",
    "This most likely indicates that another task died",
)


def start(folder, logs, **options):
    """Starts two processes with two devices each, which write to files; returns them.

    They compile anew: of several processes only the first one keeps what it compiled,
    and would be ahead of the other for longer than the other is waited for.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
    }
    command = [sys.executable, "-m", "hyperx", *arguments("train", folder, **options)]
    processes = []
    for number in range(2):
        with open(logs / str(number), "w") as log:
            process = subprocess.Popen(
                [*command, f"--process_id={number}", "--heartbeat_timeout=20"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
    return processes


def said(logs):
    return [(logs / str(number)).read_text() for number in range(2)]


def wait(processes, logs, seconds):
    """Exit codes; nothing is left running."""
    try:
        until = time.monotonic() + seconds
        return [p.wait(max(until - time.monotonic(), 0)) for p in processes]
    except subprocess.TimeoutExpired:
        pytest.fail(f"still running after {seconds} s: {said(logs)}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def reached(processes, folder, logs, step):
    """Waits for a checkpoint of `step` or later."""
    store = Store(folder / "checkpoints")
    while (store.latest() or 0) < step:
        if any(process.poll() is not None for process in processes):
            wait(processes, logs, 0)
            pytest.fail(f"ended early: {said(logs)}")
        time.sleep(0.005)


@pytest.fixture
def four_devices(monkeypatch):
    """Runs in this process see as many devices as the two processes."""
    make = sharding.make_mesh
    monkeypatch.setattr(
        sharding,
        "make_mesh",
        lambda *sizes, devices=None, **axes: make(
            *sizes, **axes, devices=devices or jax.devices()[:4]
        ),
    )


def assert_close(folder, other):
    """Equal but for the order in which processes and devices add up."""
    expected, got = states_of(folder), states_of(other)
    assert got.keys() == expected.keys()
    for name, leaf in expected.items():
        scale = np.max(np.abs(leaf), initial=0.0)
        np.testing.assert_allclose(got[name], leaf, atol=1e-5 * scale, err_msg=name)


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(tmp_path, four_devices):
    together, alone, logs = (tmp_path / name for name in ("together", "alone", "logs"))
    logs.mkdir()
    codes = wait(start(together, logs, **EVALUATED), logs, 600)
    assert codes == [0, 0], said(logs)
    first, second = said(logs)
    assert "2 processes, 4 devices" in first
    assert "train 6/6" in first
    assert "train" not in second, "the second process tells the same again"

    run(alone, **EVALUATED)
    assert_close(alone, together)
    one, two = metrics_log.read(alone), metrics_log.read(together)
    assert [(r["step"], r["collection"]) for r in two] == [
        *((step, "train") for step in range(1, STEPS + 1)),
        (STEPS, "eval"),
    ]
    for expected, got in zip(one, two, strict=True):
        for name in expected["values"].keys() - {"steps_per_second", "rows_per_second"}:
            assert got["values"][name] == pytest.approx(
                expected["values"][name], rel=1e-5
            ), name
    for name in ("model.json", "config.gin"):
        written = [(folder / name).read_text() for folder in (alone, together)]
        assert written[0].replace(str(alone), str(together)) == written[1]
    assert json.loads((together / "model.json").read_text())["vocabulary"]


@pytest.mark.slow
def test_whatever_ends_a_process_ends_all_and_the_run_goes_on(
    tmp_path, tmp_path_factory, four_devices
):
    unbroken, logs = (tmp_path_factory.mktemp(name) for name in ("unbroken", "logs"))
    store = Store(tmp_path / "checkpoints")

    processes = start(tmp_path, logs, **KILLED)
    reached(processes, tmp_path, logs, 2)
    processes[1].send_signal(signal.SIGKILL)
    codes = wait(processes, logs, BOUND)
    assert codes[0] != 0, said(logs)
    assert codes[1] == -signal.SIGKILL
    message = said(logs)[0]
    assert any(reason in message for reason in NOTICED), message
    assert "Traceback" not in message
    killed_at = store.latest()
    assert killed_at < KILLED_STEPS, "killed too late to prove anything"

    processes = start(tmp_path, logs, **KILLED)
    reached(processes, tmp_path, logs, killed_at + 2)
    processes[1].send_signal(signal.SIGTERM)
    assert wait(processes, logs, 120) == [143, 143], said(logs)
    stopped_at = store.latest()
    assert stopped_at < KILLED_STEPS, "stopped too late to prove anything"
    for text in said(logs):
        assert f"stopped by SIGTERM: step {stopped_at} is saved" in text
    assert f"continuing at step {killed_at}" in said(logs)[0]

    # With fewer processes, and so without the devices that it was saved from.
    run(unbroken, **KILLED)
    assert run(tmp_path, **KILLED)["step"] == KILLED_STEPS
    assert_close(unbroken, tmp_path)
