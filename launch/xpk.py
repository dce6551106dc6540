"""Slices of a GKE cluster that xpk made, with `xpk workload create`."""

from launch import gke
from launch import job as jobs
from launch.script import Plan

NEEDS = {"cluster", "zone", "image"}
TAKES = {"project", "slices", "restarts"}


def plan(job: jobs.Job) -> Plan:
    """Builds the image and submits; xpk restarts what SIGTERM or a lost node ended.

    Source: the parser of github.com/AI-Hypercomputer/xpk, src/xpk/parser/workload.py.
    """
    gke.check(job)
    slice_ = jobs.tpus(job)
    where = [f"--cluster={job.cluster}", f"--zone={job.zone}"]
    where += [f"--project={job.project}"] if job.project else []
    create = ["xpk", "workload", "create", f"--workload={job.name}", *where]
    create += [
        f"--tpu-type={slice_.generation.size}-{slice_.grid}",
        f"--num-slices={job.slices}",
        f"--docker-image={job.image}",
        f"--max-restarts={gke.restarts(job)}",
        f"--termination-grace-period-seconds={jobs.GRACE}",
        f"--command={gke.literal(job.command_line)}",
    ]
    delete = ["xpk", "workload", "delete", f"--workload={job.name}", *where]
    return Plan(
        title=f"{job.slices} x {slice_}: {job.slices * slice_.chips} chips of "
        f"cluster {job.cluster}",
        steps={
            "pack": gke.pack(job),
            "run": [create],
            "delete": [[*delete, "--force"]],
        },
        waits=False,
    )
