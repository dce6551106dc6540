"""Slices of any GKE cluster, with a JobSet and `kubectl apply`."""

from typing import Any

import yaml

from launch import gke
from launch import job as jobs
from launch.script import Plan

NEEDS = {"image"}
TAKES = {"slices", "spot", "restarts"}


def plan(job: jobs.Job) -> Plan:
    """Builds the image, writes the JobSet and submits it to the current cluster."""
    gke.check(job)
    slice_ = jobs.tpus(job)
    path = job.folder / "jobset.yaml"
    return Plan(
        title=f"{job.slices} x {slice_}: {job.slices * slice_.chips} chips of "
        f"{job.slices * slice_.hosts} nodes",
        files={path: yaml.safe_dump(manifest(job), sort_keys=False)},
        steps={
            "pack": gke.pack(job),
            "run": [["kubectl", "apply", f"--filename={path}"]],
            "delete": [["kubectl", "delete", "jobset", job.name]],
        },
        waits=False,
    )


def manifest(job: jobs.Job) -> dict[str, Any]:
    """The JobSet: one Job for each slice, one pod for each machine.

    A pod that its node puts out is no failure of the run: it is restarted without end.
    All else counts towards `Job.restarts`.

    Source: jobset.sigs.k8s.io, "TPU Multislice" and "Failure Policy".
    """
    hosts = jobs.tpus(job).hosts
    disrupted = {"type": "DisruptionTarget"}
    slices = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [{"action": "FailJob", "onPodConditions": [disrupted]}]
        },
        "template": {"spec": _pod(job)},
    }
    again = {
        "name": "disrupted",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    key = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": job.name,
            # One node pool for each slice, since a slice is one.
            "annotations": {key: "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {"maxRestarts": gke.restarts(job), "rules": [again]},
            "replicatedJobs": [
                {"name": "slice", "replicas": job.slices, "template": {"spec": slices}}
            ],
        },
    }


def _pod(job: jobs.Job) -> dict[str, Any]:
    slice_ = jobs.tpus(job)
    selector = {
        "cloud.google.com/gke-tpu-accelerator": slice_.generation.label,
        "cloud.google.com/gke-tpu-topology": slice_.grid,
    }
    spot = {"cloud.google.com/gke-spot": "true"}
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": jobs.GRACE,
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": selector | spot if job.spot else selector,
        "containers": [
            {
                "name": "hyperx",
                "image": job.image,
                "command": [gke.literal(part) for part in job.command],
                "securityContext": {"privileged": True},
                "resources": {"limits": {"google.com/tpu": slice_.chips_per_host}},
            }
        ],
    }
    if job.spot:
        ((key, value),) = spot.items()
        taint = {"key": key, "operator": "Equal", "value": value}
        pod["tolerations"] = [taint | {"effect": "NoSchedule"}]
    return pod
