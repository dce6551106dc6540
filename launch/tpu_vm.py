"""One slice of TPU VMs, with `gcloud compute tpus tpu-vm`."""

from launch import job as jobs
from launch import machines
from launch.script import Plan

NEEDS = {"zone"}
TAKES = {"project", "spot"}

_GCLOUD = ["gcloud", "compute", "tpus", "tpu-vm"]


def plan(job: jobs.Job) -> Plan:
    """Creates the machines, installs, runs in the foreground, and deletes them.

    Source: cloud.google.com/sdk/gcloud/reference/compute/tpus/tpu-vm.
    """
    jobs.in_bucket(job)
    slice_, where = jobs.tpus(job), machines.scope(job)
    everywhere = ["--worker=all", *where]
    create = [*_GCLOUD, "create", job.name, *where, *machines.accelerator(job)]
    create += [f"--version={slice_.generation.runtime}", *["--spot"] * job.spot]
    copy, ssh = [*_GCLOUD, "scp"], [*_GCLOUD, "ssh"]
    command = f"--command={machines.run(job)}"
    return Plan(
        title=f"{slice_}: {slice_.chips} chips of {slice_.hosts} machines",
        steps={
            "pack": machines.pack(job),
            "create": [create],
            "install": machines.install(job, copy, ssh, everywhere),
            "run": [[*ssh, job.name, *everywhere, command]],
            "delete": [[*_GCLOUD, "delete", job.name, *where, "--quiet"]],
        },
        waits=True,
    )
