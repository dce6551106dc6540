"""Command lines of `python -m launch` for tests, and what they print."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import launch
from launch import __main__ as entry

ROOT = pathlib.Path(launch.__file__).parents[1]

# What shells, gin, YAML and Kubernetes might each take for something of theirs.
NASTY = (
    """X="it's $(HOME) $HOME \\"quoted\\"  'twice' && b; {c}: #d * ~ \\\\" """.strip()
)

WHAT = [
    "--name=hint-xl",
    "--gin_file=models/hint_xl.gin",
    "--gin_file=gin/objectives/distillation.gin",
    '--gin.MODEL_DIR="gs://bucket/out"',
    f"--gin.{NASTY}",
]
COMMAND = ["hyperx", "train", "--distributed=auto", *WHAT[1:]]

IMAGE = "--image=us-docker.pkg.dev/project/images/hyperx:1"
LAUNCHES = {
    "tpu-vm": ["--topology=v5p:4x4x8", "--zone=us-east5-a"],
    "queued": ["--topology=v6e:4x8", "--zone=us-east5-a", "--slices=2", "--spot"],
    "xpk": ["--topology=v5p:4x4x8", "--zone=us-east5-a", "--cluster=tpus", IMAGE],
    "jobset": ["--topology=v6e:4x8", "--slices=2", "--spot", IMAGE],
    "skypilot": ["--topology=v5p:4x4x8", "--zone=us-east5-a", "--spot"],
    "slurm": ["--topology=h100:8", "--slices=2", "--max_hours=24"],
}
TOOLS = ("gcloud", "git", "docker", "xpk", "kubectl", "sky", "sbatch")


def arguments(to, *more):
    return [f"--to={to}", *WHAT, *LAUNCHES[to], *more]


def script(capsys, to, *more):
    """What a dry run prints."""
    code = entry.main([*arguments(to, *more), "--dry_run"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    return printed.out


def error(capsys, *argv):
    """What is said of a command line that cannot run."""
    assert entry.main([*argv, "--dry_run"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def files(text):
    """The files that a script writes, by name."""
    found = re.findall(r"^cat > (\S+) <<'(END_*)'\n(.*?)^\2$", text, re.M | re.S)
    return {pathlib.Path(path).name: content for path, _, content in found}


def commands(text):
    """The commands of tools that a script runs, in order; deleting comes last."""
    for content in files(text).values():
        text = text.replace(content, "")
    function = re.search(r"^delete\(\) {.*?^}", text, re.M | re.S)
    lines = text.replace(function[0], "") if function else text
    found = [line for line in lines.splitlines() if line.startswith(TOOLS)]
    if function:
        (line,) = re.findall(r"^  (.*) \|\| {$", function[0], re.M)
        found.append(line)
    return [shlex.split(line) for line in found]


def option(command, name):
    """The value of an option of a command."""
    (value,) = (a.split("=", 1)[1] for a in command if a.startswith(f"{name}="))
    return value


def tools(folder, names, program):
    """Executables of `names` that run a Python program; the PATH that has them only."""
    folder.mkdir()
    for name in names:
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def run(argv, cwd, **environment):
    """Runs a command; one that does not end is killed, with all that it started."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def expanded(text):
    """What Kubernetes makes of a command: references go, two dollars are one."""
    return re.sub(r"\$(\$|\(\w+\))", lambda m: "$" if m[1] == "$" else "", text)
