"""What the commands share: how they are added, and flags of several of them."""

import argparse
import contextlib
import inspect
from collections.abc import Callable

Commands = argparse._SubParsersAction


def add(
    commands: Commands,
    run: Callable[[argparse.Namespace], int | None],
    name: str,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    parser.set_defaults(run=run)
    return parser


def add_gin(parser: argparse.ArgumentParser) -> None:
    gin = parser.add_argument_group("configuration")
    gin.add_argument(
        "--gin_file",
        action="append",
        default=[],
        metavar="FILE",
        help="a gin file, by path or by its name in hyperx/configs; may be repeated, "
        "later ones override earlier ones (default: that of the trained model)",
    )
    gin.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a macro or a parameter; also written --gin.NAME=VALUE, and text "
        "is quoted: --gin.NAME='\"text\"'",
    )
    gin.add_argument(
        "--gin_search_paths",
        action="append",
        default=[],
        metavar="DIR[,DIR...]",
        help="folders to look for gin files in",
    )
    gin.add_argument(
        "--model_dir",
        metavar="DIR",
        help="the folder of the model, as --gin.MODEL_DIR='\"DIR\"'",
    )


def configure(args: argparse.Namespace) -> None:
    from hyperx.data import startup
    from hyperx.runs import configuration

    startup.prepare_tensorflow()  # Gin files import what needs it.
    paths = [path for paths in args.gin_search_paths for path in paths.split(",")]
    configuration.parse(args.gin_file, args.gin_bindings, paths, args.model_dir)


def call(name: str, **arguments: object) -> object:
    """Calls a configured run; arguments that are None are left to gin."""
    from hyperx.runs import configuration

    given = {key: value for key, value in arguments.items() if value is not None}
    return configuration.call(name, **given)


def add_processes(parser: argparse.ArgumentParser) -> None:
    processes = parser.add_argument_group("several processes")
    processes.add_argument(
        "--distributed",
        choices=["auto", "off"],
        default="auto",
        help="auto: join the other processes of a job if a Cloud TPU, Slurm, Open MPI "
        "or what follows says that there are some (default: auto)",
    )
    for flag, kind, metavar, text in (
        ("--coordinator_address", str, "HOST:PORT", "of process 0"),
        ("--num_processes", positive, "N", "in the job"),
        ("--process_id", int, "N", "of this process, from 0"),
    ):
        variable = f"JAX_{flag[2:].upper()}"
        text = f"{text} (default: {variable}, or what the launcher says)"
        processes.add_argument(flag, type=kind, metavar=metavar, help=text)
    processes.add_argument(
        "--heartbeat_timeout",
        type=positive,
        metavar="SECONDS",
        help="how long a process may be silent until the job ends (default: 100)",
    )


def job(
    args: argparse.Namespace, *, orderly: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Within it, a command is one of the processes of its job.

    Args:
        args: of the command.
        orderly: see `hyperx.runs.distributed.job`.
    """
    from hyperx.runs import distributed

    given = {
        name: value
        for name in inspect.signature(distributed.job).parameters
        if (value := getattr(args, name, None)) is not None
    }
    return distributed.job(args.distributed, **given, orderly=orderly)


def add_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--step", type=int, metavar="N", help="of the checkpoint (default: the newest)"
    )


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vocabulary", metavar="NAME", help="in place of the one the model names"
    )


def add_paths(parser: argparse.ArgumentParser, **flags: str) -> None:
    """Adds required paths, each given as its placeholder, a colon and its help."""
    for name, text in flags.items():
        metavar, _, explained = text.partition(": ")
        parser.add_argument(f"--{name}", required=True, metavar=metavar, help=explained)


def given(args: argparse.Namespace) -> dict[str, object]:
    """The arguments of a command that are not left to the defaults of its function."""
    own = {"run", "debug"}
    return {
        name: value
        for name, value in vars(args).items()
        if name not in own and value is not None
    }


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value
