"""Real runs, of tools that only take down what they are told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import launch_commands as c
import pytest

# Saves its arguments. FAILS and HANGS are words of a command that does so; STATES are
# what a queued resource becomes.
TOOL = """
import json, os, sys, time
path = os.environ["RECORD"]
argv = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
earlier = open(path).read() if os.path.exists(path) else ""
with open(path, "a") as file:
    file.write(json.dumps(argv) + "\\n")
if "describe" in argv:
    states = os.environ["STATES"].split()
    state = states[min(earlier.count('"describe"'), len(states) - 1)]
    sys.exit("no answer") if state == "-" else print(state)
elif os.environ.get("HANGS") in argv:
    time.sleep(60)
elif os.environ.get("FAILS") in argv:
    sys.exit("the tool's own words" if argv[0] == "kubectl" else 7)
"""


class Runner:
    """Runs `python -m launch` in an empty folder."""

    def __init__(self, folder):
        path = c.tools(folder / "bin", c.TOOLS, TOOL)
        sleep = folder / "bin" / "sleep"
        sleep.write_text("#!/bin/sh\n")
        sleep.chmod(0o755)
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        self._record = folder / "record"
        self.environment = {
            "PATH": path,
            "PYTHONPATH": str(c.ROOT),
            "RECORD": str(self._record),
            "STATES": "ACTIVE",
        }

    def argv(self, to, *more):
        return [sys.executable, "-m", "launch", *c.arguments(to, *more)]

    def __call__(self, to, *more, **environment):
        environment = self.environment | environment
        return c.run(self.argv(to, *more), self.cwd, **environment)

    @property
    def recorded(self):
        if not self._record.exists():
            return []
        return [json.loads(line) for line in self._record.read_text().splitlines()]


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


@pytest.mark.parametrize("to", c.LAUNCHES)
def test_what_is_printed_is_what_runs(runner, to):
    printed = runner(to, "--dry_run")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert runner.recorded == []
    assert list(runner.cwd.iterdir()) == []
    real = runner(to)
    assert real.returncode == 0, real.stderr
    recorded = [argv for argv in runner.recorded if "describe" not in argv]
    assert recorded == c.commands(printed.stdout)
    for name, text in c.files(printed.stdout).items():
        path = runner.cwd / "out" / "launch" / "hint-xl" / name
        assert path.read_text() == text


def test_steps(runner):
    assert runner("tpu-vm", "--steps=install,run").returncode == 0
    assert [argv[4] for argv in runner.recorded] == ["scp", "ssh", "ssh"]
    assert runner("jobset", "--steps=delete").returncode == 0
    assert runner.recorded[-1] == ["kubectl", "delete", "jobset", "hint-xl"]
    assert len(runner.recorded) == 4


def test_a_failure_stops_and_deletes(runner):
    failed = runner("tpu-vm", FAILS="scp")
    assert failed.returncode == 7
    assert "launch: exit code 7: gcloud compute tpus tpu-vm scp" in failed.stderr
    used = [argv[4] for argv in runner.recorded if argv[0] == "gcloud"]
    assert used == ["create", "scp", "delete"]


def test_what_was_not_created_is_not_deleted(runner):
    failed = runner("tpu-vm", FAILS="create")
    assert failed.returncode == 7
    used = [argv[4] for argv in runner.recorded if argv[0] == "gcloud"]
    assert used == ["create"]


def test_changes_that_were_not_committed_stop_it(runner):
    failed = runner("queued", FAILS="diff")
    assert failed.returncode == 7
    assert {argv[0] for argv in runner.recorded} == {"git"}


def test_a_failure_to_delete_is_told(runner):
    failed = runner("tpu-vm", FAILS="delete")
    assert failed.returncode == 1
    assert "launch: not deleted" in failed.stderr


def test_a_tool_says_itself_what_is_wrong(runner):
    failed = runner("jobset", FAILS="apply")
    assert failed.returncode == 1
    assert "the tool's own words" in failed.stderr
    assert "launch: exit code 1: kubectl apply" in failed.stderr


def test_a_tool_that_is_not_there(runner, tmp_path):
    (tmp_path / "few").mkdir()
    for name in ("bash", "cat", "mkdir"):  # no sbatch, though this may be a cluster
        (tmp_path / "few" / name).symlink_to(shutil.which(name))
    failed = runner("slurm", PATH=str(tmp_path / "few"))
    assert failed.returncode == 127
    assert "launch: exit code 127: sbatch" in failed.stderr


def test_waiting_in_the_queue(runner):
    states = "WAITING_FOR_RESOURCES PROVISIONING ACTIVE"
    assert runner("queued", STATES=states).returncode == 0
    used = [argv[4] for argv in runner.recorded if argv[0] == "gcloud"]
    assert used == ["create", *["describe"] * 3, "scp", "ssh", "ssh", "delete"]


def test_waiting_goes_on_without_an_answer(runner):
    assert runner("queued", STATES="PROVISIONING - - ACTIVE").returncode == 0
    given_up = runner("queued", STATES="-")
    assert given_up.returncode == 1
    assert "expected the state of hint-xl, got no answer" in given_up.stderr
    assert runner.recorded[-1][4] == "delete"


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDING", "SUSPENDED"])
def test_a_request_that_failed(runner, state):
    failed = runner("queued", STATES=f"WAITING_FOR_RESOURCES {state}")
    assert failed.returncode == 1
    assert f"expected hint-xl to become ACTIVE, got {state}" in failed.stderr
    used = [argv[4] for argv in runner.recorded if argv[0] == "gcloud"]
    assert used == ["create", "describe", "describe", "delete"]


def test_an_interrupt_deletes(runner):
    process = subprocess.Popen(
        runner.argv("tpu-vm"),
        cwd=runner.cwd,
        env={**os.environ, **runner.environment, "HANGS": "ssh"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Shells start what runs in the background with interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (runner.recorded and runner.recorded[-1][4] == "ssh"):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert runner.recorded[-1][4] == "delete"


def test_slurm_continues_what_the_time_limit_ended(runner, tmp_path):
    """The batch script, with exit codes of hyperx."""
    assert runner("slurm").returncode == 0
    batch = runner.cwd / "out" / "launch" / "hint-xl" / "job.sbatch"
    path = c.tools(tmp_path / "nodes", ["srun", "scontrol"], TOOL.replace("7", "143"))
    environment = runner.environment | {"PATH": path, "SLURM_JOB_ID": "12"}
    finished = c.run(["bash", str(batch)], runner.cwd, **environment)
    assert finished.returncode == 0
    assert runner.recorded[-1] == ["srun", *c.COMMAND]
    stopped = c.run(["bash", str(batch)], runner.cwd, **environment, FAILS="hyperx")
    assert stopped.returncode == 143
    assert runner.recorded[-1] == ["scontrol", "requeue", "12"]
