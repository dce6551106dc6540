"""`python -m launch`: runs a job, or prints the script that would."""

import argparse
import dataclasses
import importlib
import os
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType

from launch import topology
from launch.job import Job
from launch.script import STEPS, Plan, render

LAUNCHERS = {
    "tpu-vm": "tpu_vm",
    "queued": "queued",
    "xpk": "xpk",
    "jobset": "jobset",
    "skypilot": "skypilot",
    "slurm": "slurm",
}
# What some launchers need, some take, and others have no use for.
_SPECIAL = (
    "slices",
    "zone",
    "project",
    "spot",
    "image",
    "cluster",
    "restarts",
    "max_hours",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the script, or becomes it; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser()
    args = parser.parse_args(_rewrite(argv))
    try:
        script = render(_plan(_job(args), args.to), args.steps)
    except ValueError as error:
        print(f"launch: error: {error}", file=sys.stderr)
        return 1
    if args.dry_run:
        sys.stdout.write(script)
        return 0
    # In the place of this process: exit codes and Ctrl-C are bash's.
    os.execvp("bash", ["bash", "-c", script])


def _job(args: argparse.Namespace) -> Job:
    names = {field.name for field in dataclasses.fields(Job)}
    given = {name: value for name, value in vars(args).items() if name in names}
    given["topology"] = topology.parse(args.topology)
    for name in ("gin_files", "gin_bindings"):
        given[name] = tuple(given[name])
    return Job(**given)


def _plan(job: Job, to: str) -> Plan:
    launcher: ModuleType = importlib.import_module(f"launch.{LAUNCHERS[to]}")
    defaults = {field.name: field.default for field in dataclasses.fields(Job)}
    for name in _SPECIAL:
        value = getattr(job, name)
        given = value != defaults[name]
        if name in launcher.NEEDS and not given:
            raise ValueError(f"expected --{name} for --to={to}, got none")
        if given and name not in launcher.NEEDS | launcher.TAKES:
            raise ValueError(f"expected no --{name} for --to={to}, got {value}")
    return launcher.plan(job)


def _rewrite(argv: Sequence[str]) -> list[str]:
    """Turns ``--gin.NAME=VALUE`` into ``--gin_bindings=NAME=VALUE``, as hyperx does."""
    prefix = "--gin."
    return [
        f"--gin_bindings={arg.removeprefix(prefix)}" if arg.startswith(prefix) else arg
        for arg in argv
    ]


def _steps(text: str) -> list[str]:
    steps = text.split(",")
    if not set(steps) <= set(STEPS):
        raise argparse.ArgumentTypeError(f"expected of {', '.join(STEPS)}, got {text}")
    return steps


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launch",
        description="Run hyperx train on machines of a launcher; docs/launching.md.",
        epilog="example:\n  python -m launch --to=tpu-vm --name=hint-xl "
        "--topology=v5p:4x4x8 --zone=us-east5-a \\\n    --gin_file=models/hint_xl.gin "
        "--gin.MODEL_PARALLEL=4 \\\n    "
        "--gin.MODEL_DIR='\"gs://bucket/hint_xl\"' --dry_run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--to", required=True, choices=LAUNCHERS, help="the launcher")
    add("--name", required=True, help="of the machines and the job")
    add(
        "--topology",
        required=True,
        help="a slice of TPUs, such as v5p:4x4x8, or the GPUs of a node: h100:8",
    )
    add("--slices", type=_positive, default=1, help="of that; for GPUs, nodes")
    _add_what(parser)
    _add_where(parser)
    add("--steps", type=_steps, default=[], help="some of " + ",".join(STEPS))
    add("--dry_run", action="store_true", help="print the script instead")
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what runs").add_argument
    add(
        "--gin_file",
        dest="gin_files",
        action="append",
        default=[],
        metavar="FILE",
        help="as of hyperx train; may be repeated",
    )
    add(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as of hyperx train; also written --gin.NAME=VALUE",
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("where and how long").add_argument
    add("--zone", help="of Google Cloud")
    add("--project", help="of Google Cloud (default: gcloud's)")
    add("--spot", action="store_true", help="cheap machines that may be taken away")
    add("--image", help="of a container, which is built and pushed: xpk, jobset")
    add("--cluster", help="of xpk")
    add("--restarts", type=_count, metavar="N", help="after failures (default: 3)")
    add("--max_hours", type=_positive, metavar="N", help="queued, slurm: the end")
    add(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("out/launch"),
        metavar="DIR",
        help="where launchers' files go (default: out/launch)",
    )


if __name__ == "__main__":
    raise SystemExit(main())
