"""A slice of TPUs, or nodes with GPUs, in any cloud, with `sky jobs launch`."""

from typing import Any

import yaml

from launch import job as jobs
from launch import machines, topology
from launch.script import Plan

NEEDS: set[str] = set()
TAKES = {"zone", "spot", "slices", "restarts"}

# Process 0 is on the first node; JAX finds out on its own on TPUs alone.
_NODES = """\
export JAX_COORDINATOR_ADDRESS="$(echo "$SKYPILOT_NODE_IPS" | head -n 1):8476"
export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES"
export JAX_PROCESS_ID="$SKYPILOT_NODE_RANK"
"""


def plan(job: jobs.Job) -> Plan:
    """Writes the task and submits it as a managed job: these recover when preempted."""
    jobs.in_bucket(job)
    path = job.folder / "task.yaml"
    launch = ["sky", "jobs", "launch", "--yes", f"--name={job.name}", str(path)]
    return Plan(
        title=f"{job.slices} x {job.topology}",
        files={path: yaml.safe_dump(task(job), sort_keys=False)},
        steps={
            "run": [launch],
            "delete": [["sky", "jobs", "cancel", "--yes", f"--name={job.name}"]],
        },
        waits=False,
    )


def task(job: jobs.Job) -> dict[str, Any]:
    """The task, whose commands run on every machine in a copy of this checkout.

    Source: docs.skypilot.co, "SkyPilot YAML", "Cloud TPU" and "Managed Jobs".
    """
    on_tpus = isinstance(job.topology, topology.Slice)
    nodes = "" if on_tpus or job.slices == 1 else _NODES
    setup = machines.environment("tpu" if on_tpus else "gpu")
    task = {
        "name": job.name,
        "workdir": str(jobs.ROOT),
        "resources": _slice(job) if on_tpus else _gpus(job),
        "setup": "\n".join(["set -e", *setup]) + "\n",
        "run": f"{nodes}{machines.activated(job)}\n",
    }
    return task if on_tpus else {**task, "num_nodes": job.slices}


def _slice(job: jobs.Job) -> dict[str, Any]:
    slice_ = jobs.tpus(job)
    if job.slices > 1:
        raise ValueError(
            "expected one slice for --to=skypilot, which does not connect several, "
            f"got {job.slices}"
        )
    if not slice_.usual:
        raise ValueError(
            f"expected the usual shape of {slice_.size} for --to=skypilot, which knows "
            f"sizes alone, got {slice_}"
        )
    return {
        "infra": f"gcp/*/{job.zone}" if job.zone else "gcp",
        "accelerators": f"tpu-{slice_.size}",
        "accelerator_args": {"runtime_version": slice_.generation.runtime},
        **_shared(job),
    }


def _gpus(job: jobs.Job) -> dict[str, Any]:
    if job.topology.kind == "gpu":
        raise ValueError(
            f"expected GPUs by name for --to=skypilot, such as H100:8, got "
            f"{job.topology}"
        )
    where = {"infra": f"gcp/*/{job.zone}"} if job.zone else {}
    return {**where, "accelerators": str(job.topology), **_shared(job)}


def _shared(job: jobs.Job) -> dict[str, Any]:
    restarts = 3 if job.restarts is None else job.restarts
    return {
        "use_spot": job.spot,
        "job_recovery": {"max_restarts_on_errors": restarts},
    }
