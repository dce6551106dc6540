"""Google Kubernetes Engine: what xpk and jobset have in common."""

from launch import job as jobs
from launch.script import Command

# What cannot be repaired by trying again fails as often.
RESTARTS = 3


def pack(job: jobs.Job) -> list[Command]:
    """Builds the image of this checkout and pushes it."""
    dockerfile = jobs.ROOT / "launch" / "Dockerfile"
    build = ["docker", "build", f"--tag={job.image}", f"--file={dockerfile}"]
    platform = "--platform=linux/amd64"  # of the nodes
    return [[*build, platform, str(jobs.ROOT)], ["docker", "push", str(job.image)]]


def check(job: jobs.Job) -> None:
    """Checks what the documentation of GKE rules out.

    Raises:
        ValueError: for several slices of one machine each, or results on a node.
    """
    jobs.in_bucket(job)
    slice_ = jobs.tpus(job)
    if job.slices > 1 and slice_.hosts == 1:
        raise ValueError(
            "expected slices of several machines, since GKE connects no others, got "
            f"{job.slices} x {slice_} of one machine each"
        )


def literal(text: str) -> str:
    """Text that Kubernetes leaves as it is: it would expand ``$(NAME)``."""
    return text.replace("$", "$$")


def restarts(job: jobs.Job) -> int:
    """After how many failures to give up."""
    return RESTARTS if job.restarts is None else job.restarts
