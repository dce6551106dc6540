"""Nodes with GPUs of a Slurm cluster, with `sbatch`."""

import shlex
import string

from launch import job as jobs
from launch import topology
from launch.script import Plan

NEEDS: set[str] = set()
TAKES = {"slices", "max_hours"}

# Without --kill-on-bad-exit: it would end those who still save.
_SCRIPT = string.Template("""\
#!/bin/bash
$options

cd $root || exit
code=0
srun $command || code=$$?
# Saved before the time was over, and not finished.
if [ "$$code" -eq $terminated ]; then
  scontrol requeue "$$SLURM_JOB_ID"
fi
exit "$$code"
""")


def plan(job: jobs.Job) -> Plan:
    """Writes the batch script and submits it."""
    path = job.folder / "job.sbatch"
    return Plan(
        title=f"{job.slices} x {job.topology}",
        files={path: batch(job)},
        steps={
            "run": [["sbatch", str(path)]],
            "delete": [["scancel", f"--name={job.name}"]],
        },
        waits=False,
    )


def batch(job: jobs.Job) -> str:
    """The batch script: one process for each GPU, as JAX expects of Slurm.

    A lost node requeues the job, as does the time limit, before which hyperx saves.

    Source: slurm.schedmd.com/sbatch.html, and jax.distributed.initialize.
    """
    gpus = job.topology
    if not isinstance(gpus, topology.Gpus):
        raise ValueError(
            f"expected the GPUs of a node for --to=slurm, such as h100:8 or gpu:8, got "
            f"{gpus}"
        )
    kind = "" if gpus.kind == "gpu" else f"{gpus.kind}:"
    log = job.folder.resolve() / "%j.log"
    options = {
        "job-name": job.name,
        "nodes": job.slices,
        "ntasks-per-node": gpus.count,
        "gpus-per-node": f"{kind}{gpus.count}",
        "exclusive": None,
        "mem": 0,  # all of the node's
        "signal": f"TERM@{jobs.GRACE}",
        "requeue": None,
        "open-mode": "append",
        "output": shlex.quote(str(log)),
    }
    if job.max_hours is not None:
        options["time"] = f"{job.max_hours}:00:00"
    lines = (
        f"#SBATCH --{name}" + ("" if value is None else f"={value}")
        for name, value in options.items()
    )
    return _SCRIPT.substitute(
        options="\n".join(lines),
        root=shlex.quote(str(jobs.ROOT)),
        command=job.command_line,
        terminated=jobs.TERMINATED,
    )
