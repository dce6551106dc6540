"""Commands for data before a run: `cache`, `data show` and `data stats`."""

import argparse
import importlib
import os

from hyperx.cli import flags

# How these commands are configured, before what is given.
_CONFIGURATION = "runs/data.gin"


def add_cache(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args)
        flags.call(
            "hyperx.runs.data.cache",
            mixture_or_task_name=args.name,
            output=args.output,
            splits=args.split,
        )

    parser = flags.add(
        commands,
        run,
        "cache",
        "write tasks to disk as tokens, where seqio reads them again",
        "hyperx cache super_ni_def --output=cache --gin_file=data/super_ni.gin "
        "--gin.VOCABULARY='\"bytes\"'",
    )
    _add_data(parser)
    parser.add_argument(
        "--output", metavar="DIR", help="the folder of all caches (default: CACHE_DIR)"
    )
    parser.add_argument(
        "--split",
        action="append",
        metavar="NAME",
        help="may be repeated (default: all splits)",
    )


def add_data(commands: flags.Commands) -> None:
    parser = commands.add_parser(
        "data",
        help="look at the rows of tasks, or measure them",
        description="Look at the rows of tasks, or measure them.",
        epilog="example:\n  hyperx data show toyworld --module=hyperx.tasks.toyworld",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(metavar="show|stats", required=True)
    _add_show(kinds)
    _add_stats(kinds)


def _add_show(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args)
        flags.call(
            "hyperx.runs.data.show",
            mixture_or_task_name=args.name,
            split=args.split,
            count=args.count,
            full=args.full,
        )

    parser = flags.add(
        commands,
        run,
        "show",
        "print rows as models read them",
        "hyperx data show toyworld -n 3 --module=hyperx.tasks.toyworld",
    )
    _add_data(parser)
    parser.add_argument("--split", metavar="NAME", help="(default: train)")
    parser.add_argument(
        "-n",
        dest="count",
        type=flags.positive,
        metavar="N",
        help="how many rows (default: 5)",
    )
    parser.add_argument("--full", action="store_true", help="print long texts whole")


def _add_stats(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args)
        flags.call(
            "hyperx.runs.data.stats",
            mixture_or_task_name=args.name,
            split=args.split,
            output=args.output,
        )

    parser = flags.add(
        commands,
        run,
        "stats",
        "count rows and tokens of a whole split",
        "hyperx data stats --gin_file=runs/toyworld.gin --output=stats",
    )
    _add_data(parser)
    parser.add_argument("--split", metavar="NAME", help="(default: train)")
    parser.add_argument(
        "--output", metavar="DIR", help="receives the numbers as JSON and a picture"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="TASK",
        help="a task or mixture (default: MIXTURE_OR_TASK_NAME)",
    )
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="a Python module that registers tasks; may be repeated",
    )
    flags.add_gin(parser)


def _configure(args: argparse.Namespace) -> None:
    files = args.gin_file
    if args.model_dir is not None and not files:
        files = [os.path.join(args.model_dir, "config.gin")]
    args.gin_file = [_CONFIGURATION, *files]
    flags.configure(args)
    for name in args.module:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"expected a module that can be imported (PYTHONPATH), got {name}: "
                f"{error}"
            ) from error
