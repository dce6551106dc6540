"""Dry runs: what each launcher is told."""

import json
import os
import re
import shlex
import subprocess
import sys

import launch_commands as c
import pytest
import yaml

from launch import __main__ as entry

SAVE = "import json, os, sys; json.dump(sys.argv, open(os.environ['SAVED'], 'w'))"


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch, tmp_path, request):
    """A dry run starts no process and writes no file."""
    monkeypatch.chdir(tmp_path)
    if "shell" in request.fixturenames:
        yield
        return

    def refuse(*arguments, **_):
        raise AssertionError(f"started {arguments}")

    for module, name in ((os, "execvp"), (os, "system"), (subprocess, "Popen")):
        monkeypatch.setattr(module, name, refuse)
    yield
    assert list(tmp_path.iterdir()) == []


def test_every_launcher_is_tested():
    assert c.LAUNCHES.keys() == entry.LAUNCHERS.keys()


def test_tpu_vm(capsys):
    steps = c.commands(c.script(capsys, "tpu-vm", "--project=p"))
    *packing, create, copy, install, run, delete = steps
    gcloud = ["gcloud", "compute", "tpus", "tpu-vm"]
    where = ["--zone=us-east5-a", "--project=p"]
    assert [command[0] for command in packing] == ["git"] * 3
    what = ["--type=v5p", "--topology=4x4x8", "--version=v2-alpha-tpuv5"]
    assert create == [*gcloud, "create", "hint-xl", *where, *what]
    archive = c.option(packing[-1], "--output")
    assert archive.endswith("out/launch/hint-xl/hyperx.tar.gz")
    assert copy[:4] == gcloud
    assert archive.endswith(copy[5])
    for command in (copy, install, run):
        assert {"--worker=all", *where} <= set(command)
    # Of the machine's own Python, `python3 -m uv` would take the environment.
    assert "uv pip install --quiet --python .venv" in c.option(install, "--command")
    assert delete == [*gcloud, "delete", "hint-xl", *where, "--quiet"]


def test_tpu_vm_of_a_flat_slice(capsys):
    text = c.script(capsys, "tpu-vm", "--topology=v5e:2x4", "--spot")
    create = c.commands(text)[3]
    assert c.option(create, "--accelerator-type") == "v5litepod-8"
    assert "--spot" in create
    assert not any(part.startswith(("--type", "--topology")) for part in create)


def test_queued_slices(capsys):
    text = c.script(capsys, "queued")
    *_, create, copy, install, run, delete = c.commands(text)
    assert text.splitlines()[1] == "# 2 x v6e:4x8: 64 chips of 16 machines"
    assert create[:4] == ["gcloud", "compute", "tpus", "queued-resources"]
    assert {"--node-count=2", "--node-prefix=hint-xl", "--spot"} <= set(create)
    for command in (copy, install, run):
        assert {"--worker=all", "--node=all"} <= set(command)
    assert "--batch-size=all" in run
    assert "--force" in delete
    assert "describe hint-xl --zone=us-east5-a" in c.files(text)["wait.sh"]


def test_queued_with_a_last_hour(capsys):
    one = ["--to=queued", *c.WHAT, "--topology=v6e:4x8", "--zone=z", "--max_hours=8"]
    assert entry.main([*one, "--dry_run"]) == 0
    create = c.commands(capsys.readouterr().out)[3]
    assert create[:2] == ["gcloud", "alpha"]
    assert "--node-id=hint-xl" in create
    assert "--provisioning-model=flex-start" in create
    assert "--max-run-duration=8h" in create
    assert "got both" in c.error(capsys, *one, "--spot")


def test_xpk(capsys):
    build, push, run = c.commands(c.script(capsys, "xpk", "--restarts=50"))
    assert c.option(build, "--tag") == push[-1] == c.option(run, "--docker-image")
    assert build[-1] == str(c.ROOT)
    assert run[:3] == ["xpk", "workload", "create"]
    assert c.option(run, "--tpu-type") == "v5p-4x4x8"
    assert c.option(run, "--num-slices") == "1"
    assert c.option(run, "--max-restarts") == "50"


def test_jobset(capsys):
    text = c.script(capsys, "jobset")
    manifest = yaml.safe_load(c.files(text)["jobset.yaml"])
    (slices,) = manifest["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    pod = job["template"]["spec"]
    assert (slices["replicas"], job["parallelism"], job["completions"]) == (2, 8, 8)
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert {"name", "action", "onJobFailureReasons"} == policy["rules"][0].keys()
    # What Kubernetes asks of a Job with a podFailurePolicy.
    assert pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x8",
        "cloud.google.com/gke-spot": "true",
    }
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert c.commands(text)[-1][:2] == ["kubectl", "apply"]


def test_skypilot_tpus(capsys):
    text = c.script(capsys, "skypilot")
    task = yaml.safe_load(c.files(text)["task.yaml"])
    assert task["resources"] == {
        "infra": "gcp/*/us-east5-a",
        "accelerators": "tpu-v5p-256",
        "accelerator_args": {"runtime_version": "v2-alpha-tpuv5"},
        "use_spot": True,
        "job_recovery": {"max_restarts_on_errors": 3},
    }
    assert task["workdir"] == str(c.ROOT)
    assert "num_nodes" not in task
    (command,) = c.commands(text)
    assert command[:3] == ["sky", "jobs", "launch"]


def test_skypilot_gpus(capsys):
    argv = ["--to=skypilot", *c.WHAT, "--topology=H100:8", "--slices=2", "--dry_run"]
    assert entry.main(argv) == 0
    task = yaml.safe_load(c.files(capsys.readouterr().out)["task.yaml"])
    assert task["resources"]["accelerators"] == "H100:8"
    assert task["num_nodes"] == 2
    assert "JAX_PROCESS_ID" in task["run"]
    assert ".[gpu]" in task["setup"]


def test_slurm(capsys):
    text = c.script(capsys, "slurm")
    batch = c.files(text)["job.sbatch"].splitlines()
    assert batch[0] == "#!/bin/bash"
    options = {line for line in batch if line.startswith("#SBATCH")}
    assert {
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --gpus-per-node=h100:8",
        "#SBATCH --requeue",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --time=24:00:00",
    } <= options


@pytest.fixture
def shell(tmp_path):
    """Runs shell text as a machine would; returns what hyperx was given."""
    path = c.tools(tmp_path / "bin", ["hyperx"], SAVE)
    home = tmp_path / "home"
    for checkout in (home, home / "hyperx"):
        (checkout / ".venv" / "bin").mkdir(parents=True)
        (checkout / ".venv" / "bin" / "activate").touch()

    def run(text):
        saved = tmp_path / "saved.json"
        result = c.run(["bash", "-c", text], home, PATH=path, SAVED=str(saved))
        assert result.returncode == 0, result.stderr
        return ["hyperx", *json.loads(saved.read_text())[1:]]

    return run


def test_machines_get_the_command(capsys, shell):
    """Through gcloud, which takes a command apart at its spaces, and a remote shell."""
    for to in ("tpu-vm", "queued"):
        run = c.commands(c.script(capsys, to))[-2]
        assert shell(" ".join(c.option(run, "--command").split(" "))) == c.COMMAND


def test_containers_get_the_command(capsys, shell):
    """Kubernetes turns two dollars into one, and leaves the rest."""
    manifest = yaml.safe_load(c.files(c.script(capsys, "jobset"))["jobset.yaml"])
    slices = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = slices["template"]["spec"]["containers"]
    assert list(map(c.expanded, container["command"])) == c.COMMAND
    run = c.commands(c.script(capsys, "xpk"))[-1]
    assert shell(c.expanded(c.option(run, "--command"))) == c.COMMAND


def test_nodes_get_the_command(capsys, shell):
    task = yaml.safe_load(c.files(c.script(capsys, "skypilot"))["task.yaml"])
    assert shell(task["run"]) == c.COMMAND
    batch = c.files(c.script(capsys, "slurm"))["job.sbatch"]
    assert shell('srun() { "$@"; }\n' + batch) == c.COMMAND


def test_launching_needs_neither_jax_nor_tensorflow():
    program = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(c.ROOT)!r})\n"
        f"for name in {list(entry.LAUNCHERS.values())}:\n"
        "    importlib.import_module(f'launch.{name}')\n"
        "sys.exit(bool({'jax', 'tensorflow', 'hyperx'} & set(sys.modules)))"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, ["python", "-c", program]) == 0


def test_the_page_shows_what_works(capsys):
    page = (c.ROOT / "docs" / "launching.md").read_text(encoding="utf-8")
    shown = re.findall(r"^python -m launch (.*?[^\\])$", page, re.M | re.S)
    assert len(shown) >= 5
    for text in shown:
        argv = shlex.split(text.replace("\\\n", " "))
        if argv[-1] == "...":
            argv[-1:] = c.WHAT[1:]
        assert entry.main([*argv, "--dry_run"]) == 0, capsys.readouterr().err
