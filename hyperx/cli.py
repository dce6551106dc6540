"""The command line: `hyperx COMMAND`.

Each command parses its flags, imports what it runs, and calls it.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

import hyperx

Commands = argparse._SubParsersAction


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
    for add in (_train, _eval, _infer, _inspect, _import, _demo):
        add(commands)
    return parser


def _add(
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


def _add_gin(parser: argparse.ArgumentParser) -> None:
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


def _configure(args: argparse.Namespace) -> None:
    from hyperx.data import startup
    from hyperx.runs import configuration

    startup.prepare_tensorflow()  # Gin files import what needs it.
    paths = [path for paths in args.gin_search_paths for path in paths.split(",")]
    configuration.parse(args.gin_file, args.gin_bindings, paths, args.model_dir)


def _call(name: str, **arguments: object) -> object:
    """Calls a configured run; arguments that are None are left to gin."""
    from hyperx.runs import configuration

    given = {key: value for key, value in arguments.items() if value is not None}
    return configuration.call(name, **given)


def _train(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args)
        _call("hyperx.runs.train.train")

    parser = _add(
        commands,
        run,
        "train",
        "train a model, or continue to train it",
        "hyperx train --gin_file=runs/toyworld.gin --gin_file=methods/hint.gin "
        "--gin.MODEL_DIR='\"out\"'",
    )
    _add_gin(parser)


def _eval(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args)
        _call("hyperx.runs.evaluate.evaluate")

    parser = _add(
        commands, run, "eval", "evaluate a trained model", "hyperx eval --model_dir=out"
    )
    _add_gin(parser)


def _infer(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        from hyperx.runs import configuration

        _configure(args)
        malformed = _call(
            "hyperx.runs.infer.infer",
            model_dir=configuration.macro("MODEL_DIR"),
            input=args.input,
            output=args.output,
            condition=args.condition,
            max_new_tokens=args.max_new_tokens,
            batch_size=args.batch_size,
        )
        return 1 if malformed else 0

    parser = _add(
        commands,
        run,
        "infer",
        "apply a trained model to inputs",
        "echo 'some input' | hyperx infer --model_dir=out --condition='Reverse it.'",
    )
    _add_gin(parser)
    parser.add_argument(
        "--input",
        default="-",
        metavar="FILE",
        help='JSON lines with "condition" and "input", or with --condition plain '
        "lines; - is standard input (default: -)",
    )
    parser.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="JSON lines to write; - is standard output (default: -)",
    )
    parser.add_argument(
        "--condition", metavar="TEXT", help="the condition of every input"
    )
    parser.add_argument(
        "--max_new_tokens", type=_positive, metavar="N", help="longest output"
    )
    parser.add_argument(
        "--batch_size", type=_positive, metavar="N", help="inputs decoded at once"
    )


def _inspect(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        if args.list:
            _print_configs()
        else:
            _configure(args)
            _call("hyperx.runs.inspect.inspect", as_json=args.json)

    parser = _add(
        commands,
        run,
        "inspect",
        "count parameters and the size of a task state, without computing them",
        "hyperx inspect --gin_file=models/hint_xl.gin --json",
    )
    _add_gin(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--list", action="store_true", help="list the methods and models that exist"
    )


def _print_configs() -> None:
    from hyperx.runs import gin_files

    for folder in ("methods", "models"):
        for name, comment in gin_files.listing(folder).items():
            print(f"{name:<32} {comment}".rstrip())


def _import(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import importing

        importing.from_huggingface(args.source, args.to)

    parser = _add(
        commands,
        run,
        "import",
        "read a checkpoint of another library",
        "hyperx import --from=hf google/t5-v1_1-small --to=t5_1_1_small",
    )
    parser.add_argument(
        "--from",
        dest="format",
        choices=["hf"],
        required=True,
        help="what wrote it: hf, a folder of Hugging Face transformers",
    )
    parser.add_argument("source", metavar="DIR", help="the folder to read")
    parser.add_argument("--to", required=True, metavar="DIR", help="the new folder")


def _demo(commands: Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import demo

        demo.demo(args.output, args.fast, args.seed)

    parser = _add(
        commands,
        run,
        "demo",
        "train a tiny hypernetwork on instructions and test it on unseen ones",
        "hyperx demo --fast",
    )
    parser.add_argument(
        "--output", default="demo", metavar="DIR", help="where (default: demo)"
    )
    parser.add_argument(
        "--fast", action="store_true", help="one minute, with lower numbers"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
