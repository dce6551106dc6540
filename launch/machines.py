"""TPU VMs: what tpu-vm and queued have in common."""

import pathlib
import shlex

from launch import job as jobs
from launch.script import Command

ENVIRONMENT = ".venv"


def pack(job: jobs.Job) -> list[Command]:
    """Packs the last commit, and refuses if the checkout has changed since."""
    git = ["git", "--no-pager", "-C", str(jobs.ROOT)]
    archive = ["archive", "--format=tar.gz", "--prefix=hyperx/"]
    return [
        ["mkdir", "-p", str(job.folder)],
        [*git, "diff", "--stat", "--exit-code", "HEAD"],
        [*git, "ls-files", "--error-unmatch", "--", *job.gin_paths],
        [*git, *archive, f"--output={_packed(job).resolve()}", "HEAD"],
    ]


def install(
    job: jobs.Job, copy: Command, ssh: Command, everywhere: Command
) -> list[Command]:
    """Copies what is packed to all machines and installs it there.

    Args:
        job: what is installed for.
        copy: the beginning of a command that copies to machines.
        ssh: the beginning of one that runs something on them.
        everywhere: the flags of both that mean all machines, zone included.
    """
    remote = " && ".join(
        [
            "rm -rf hyperx",
            "tar -xzf hyperx.tar.gz",
            "cd hyperx",
            *environment("tpu"),
        ]
    )
    target = f"{job.name}:hyperx.tar.gz"
    return [
        [*copy, str(_packed(job)), target, *everywhere],
        [*ssh, job.name, *everywhere, f"--command={remote}"],
    ]


def environment(extra: str) -> list[str]:
    """Shell commands that install the checkout they run in; uv brings the Python."""
    # Told where: `python3 -m uv` would take the environment of that python3.
    into = f"--quiet --python {ENVIRONMENT}"
    return [
        "python3 -m pip install --quiet uv",
        f"python3 -m uv venv --quiet --clear --python 3.12 {ENVIRONMENT}",
        f"python3 -m uv pip install {into} --editable {shlex.quote(f'.[{extra}]')}",
    ]


def run(job: jobs.Job) -> str:
    """The shell command of one machine."""
    return f"cd hyperx && {activated(job)}"


def activated(job: jobs.Job) -> str:
    """The command of the job in the environment that was installed."""
    return f". {ENVIRONMENT}/bin/activate && {job.command_line}"


def scope(job: jobs.Job) -> list[str]:
    """Flags of gcloud: where."""
    project = [f"--project={job.project}"] if job.project else []
    return [f"--zone={job.zone}", *project]


def accelerator(job: jobs.Job) -> list[str]:
    """Flags of gcloud: what; sizes of flat slices have one shape each."""
    slice_ = jobs.tpus(job)
    if slice_.generation.shapes:
        return [f"--accelerator-type={slice_.size}"]
    return [f"--type={slice_.kind}", f"--topology={slice_.grid}"]


def _packed(job: jobs.Job) -> pathlib.Path:
    return job.folder / "hyperx.tar.gz"
