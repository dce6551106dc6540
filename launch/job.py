"""A job: one `hyperx train` and what it runs on."""

import ast
import dataclasses
import pathlib
import re
import shlex

from launch import topology

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Seconds between SIGTERM and the end, in which hyperx saves what it has.
GRACE = 120
# The exit code of a run that SIGTERM ended: it is saved, and not finished.
TERMINATED = 143


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is to run, and on what.

    Attributes:
        name: of the machines, the job and its files.
        gin_files: of this checkout, by path from its root or by name below gin/.
        gin_bindings: ``NAME=VALUE``, in gin's syntax; one of them sets ``MODEL_DIR``.
        topology: of a slice, or of a node.
        slices: how many slices, or nodes with GPUs.
        zone: of Google Cloud.
        project: of Google Cloud; None is gcloud's.
        spot: whether to take machines that are cheaper and may be taken away.
        image: of a container with this checkout; see launch/Dockerfile.
        cluster: of xpk.
        restarts: after how many failures to give up; None is the launcher's default.
        max_hours: after how many hours the machines go, whatever runs.
        output: the folder of the files that launchers read.
    """

    name: str
    gin_files: tuple[str, ...]
    gin_bindings: tuple[str, ...]
    topology: topology.Slice | topology.Gpus
    slices: int = 1
    zone: str | None = None
    project: str | None = None
    spot: bool = False
    image: str | None = None
    cluster: str | None = None
    restarts: int | None = None
    max_hours: int | None = None
    output: pathlib.Path = pathlib.Path("out/launch")

    def __post_init__(self) -> None:
        """Checks what no launcher could run.

        Raises:
            ValueError: saying both sides.
        """
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name):
            raise ValueError(
                "expected a name of at most 40 small letters, digits and hyphens that "
                f"begins with a letter, got {self.name!r}"
            )
        for text in self.command:
            if "\n" in text:
                raise ValueError(f"expected arguments of one line, got {text!r}")
        if not self.gin_files:
            raise ValueError("expected --gin_file, got none")
        for file in self.gin_files:
            _path(file)

    @property
    def gin_paths(self) -> list[str]:
        """Of its gin files, from the root of this checkout."""
        return [_path(file) for file in self.gin_files]

    @property
    def command(self) -> list[str]:
        """What every machine runs, in the root of a copy of this checkout."""
        files = [f"--gin_file={file}" for file in self.gin_files]
        bindings = [f"--gin.{binding}" for binding in self.gin_bindings]
        return ["hyperx", "train", "--distributed=auto", *files, *bindings]

    @property
    def command_line(self) -> str:
        """The command, for a shell."""
        return shlex.join(self.command)

    @property
    def folder(self) -> pathlib.Path:
        """Of its files."""
        return self.output / self.name

    @property
    def model_dir(self) -> str | None:
        """Where it writes, as its bindings say; None if they do not."""
        for binding in reversed(self.gin_bindings):
            name, _, value = binding.partition("=")
            if name.strip() == "MODEL_DIR":
                try:
                    return str(ast.literal_eval(value.strip()))
                except (SyntaxError, ValueError):
                    raise ValueError(
                        "expected text in quotes for gin as well, such as "
                        f"--gin.MODEL_DIR='\"gs://...\"', got {value}"
                    ) from None
        return None


def tpus(job: Job) -> topology.Slice:
    """The slice that a job runs on.

    Raises:
        ValueError: if these are GPUs.
    """
    if not isinstance(job.topology, topology.Slice):
        raise ValueError(
            f"expected a slice of TPUs, such as v5p:4x4x8, got {job.topology}; GPUs "
            "take --to=slurm or --to=skypilot"
        )
    return job.topology


def in_bucket(job: Job) -> None:
    """Checks that the results of a job outlive its machines.

    Raises:
        ValueError: if they would go with them.
    """
    if not (job.model_dir or "").startswith("gs://"):
        raise ValueError(
            "expected --gin.MODEL_DIR='\"gs://BUCKET/...\"', since folders of the "
            f"machines go with them, got {job.model_dir or 'none'}"
        )


def _path(file: str) -> str:
    """Finds a gin file as hyperx does: first by its path, then by its name."""
    for path in (pathlib.PurePath(file), pathlib.PurePath("gin", file)):
        if not path.is_absolute() and (ROOT / path).is_file():
            return str(path)
    raise ValueError(
        f"expected a gin file by its path from {ROOT} or by its name in gin/, since "
        f"machines have a copy of that folder alone, got {file!r}"
    )
