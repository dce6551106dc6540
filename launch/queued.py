"""Slices of TPU VMs, waited for, with `gcloud compute tpus queued-resources`."""

import shlex
import string

from launch import job as jobs
from launch import machines
from launch.script import Plan

NEEDS = {"zone"}
TAKES = {"project", "spot", "slices", "max_hours"}

_GCLOUD = ["gcloud", "compute", "tpus", "queued-resources"]

_WAIT = string.Template("""\
# Waits until the machines are there; for ten minutes also without an answer.
silent=0
while true; do
  if state=$$($describe); then
    silent=0
  elif [ $$((silent += 1)) -gt 20 ]; then
    echo "launch: expected the state of $name, got no answer" >&2
    exit 1
  fi
  case $$state in
    ACTIVE)
      exit 0 ;;
    FAILED | SUSPENDING | SUSPENDED)
      echo "launch: expected $name to become ACTIVE, got $$state" >&2
      exit 1 ;;
  esac
  sleep 30
done
""")


def plan(job: jobs.Job) -> Plan:
    """Asks for the machines, waits for them, installs, runs, and deletes them.

    Source: cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources; for
    ``max_hours`` docs.cloud.google.com/tpu/docs/request-using-flex-start.
    """
    jobs.in_bucket(job)
    slice_, where = jobs.tpus(job), machines.scope(job)
    everywhere = ["--node=all", "--worker=all", *where]
    # In smaller batches, the first ones would wait for machines that wait for them.
    ssh = [*_GCLOUD, "ssh", "--batch-size=all"]
    describe = [*_GCLOUD, "describe", job.name, *where, "--format=value(state.state)"]
    wait = job.folder / "wait.sh"
    text = _WAIT.substitute(describe=shlex.join(describe), name=job.name)
    command = f"--command={machines.run(job)}"
    return Plan(
        title=f"{job.slices} x {slice_}: {job.slices * slice_.chips} chips of "
        f"{job.slices * slice_.hosts} machines",
        files={wait: text},
        steps={
            "pack": machines.pack(job),
            "create": [_create(job), ["bash", str(wait)]],
            "install": machines.install(job, [*_GCLOUD, "scp"], ssh, everywhere),
            "run": [[*ssh, job.name, *everywhere, command]],
            "delete": [[*_GCLOUD, "delete", job.name, *where, "--force", "--quiet"]],
        },
        waits=True,
    )


def _create(job: jobs.Job) -> list[str]:
    gcloud = _GCLOUD
    if job.max_hours is None:
        limit = []
    elif job.spot:
        raise ValueError(
            "expected --max_hours or --spot: limited machines are a kind of their own; "
            "got both"
        )
    else:
        gcloud = ["gcloud", "alpha", *_GCLOUD[1:]]
        duration = f"--max-run-duration={job.max_hours}h"
        limit = ["--provisioning-model=flex-start", duration]
    nodes = [f"--node-id={job.name}"]
    if job.slices > 1:
        nodes = [f"--node-count={job.slices}", f"--node-prefix={job.name}"]
    runtime = f"--runtime-version={jobs.tpus(job).generation.runtime}"
    what = [*machines.accelerator(job), runtime, *["--spot"] * job.spot, *limit]
    return [*gcloud, "create", job.name, *nodes, *machines.scope(job), *what]
