"""The command line: `hyperx COMMAND`.

Each command parses its flags, imports what it runs, and calls it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import hyperx
from hyperx.cli import configured, data, direct, planning, serving, trained

COMMANDS = (
    configured.add_train,
    configured.add_eval,
    trained.add_infer,
    trained.add_adapt,
    trained.add_tune,
    configured.add_inspect,
    planning.add_plan,
    planning.add_cost,
    serving.add_serve,
    direct.add_import,
    direct.add_export,
    data.add_cache,
    data.add_data,
    direct.add_demo,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    args = _parser().parse_args(_rewrite(sys.argv[1:] if argv is None else argv))
    _log_to_stderr()
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("hyperx: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        print(f"hyperx: error: {_message(error)}", file=sys.stderr)
        return 1


def _log_to_stderr() -> None:
    """Shows what hyperx reports; other packages' loggers are left as they are."""
    logger = logging.getLogger("hyperx")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _message(error: Exception) -> str:
    """What to tell the user: errors of use as they are, all others with their type."""
    # Gin appends the addresses of the functions it called.
    text = str(error).split("\n  In call to configurable")[0]
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, (OSError, ValueError, FloatingPointError)) and text:
        return text
    return f"{type(error).__name__}: {text} (run with --debug for the traceback)"


def _rewrite(argv: Sequence[str]) -> list[str]:
    """Turns ``--gin.NAME=VALUE`` into ``--gin_bindings=NAME=VALUE``."""
    prefix = "--gin."
    return [
        f"--gin_bindings={arg.removeprefix(prefix)}" if arg.startswith(prefix) else arg
        for arg in argv
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hyperx", description="Hypernetworks for language models."
    )
    parser.add_argument(
        "--version", action="version", version=f"hyperx {hyperx.__version__}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser
