"""Commands that gin configures: their flags override what files bind."""

import argparse
import signal

from hyperx.cli import flags

# What shells report of a process that SIGTERM ended: the run is saved, not finished.
TERMINATED = 128 + signal.SIGTERM


def add_train(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        with flags.job(args, orderly=True):
            flags.configure(args)
            last = flags.call("hyperx.runs.train.train")
        return TERMINATED if last["step"] < last["total_steps"] else 0

    parser = flags.add(
        commands,
        run,
        "train",
        "train a model, or continue to train it",
        "hyperx train --gin_file=runs/toyworld.gin --gin_file=methods/hint.gin "
        "--gin.MODEL_DIR='\"out\"'",
    )
    flags.add_gin(parser)
    flags.add_processes(parser)


def add_eval(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        if args.tasks is not None:
            # Of the evaluator itself: older configurations have no macro for it.
            name = "hyperx.runs.evaluate.Evaluator.mixture_or_task_name"
            args.gin_bindings.append(f"{name} = {args.tasks!r}")
        with flags.job(args):
            flags.configure(args)
            flags.call(
                "hyperx.runs.evaluate.evaluate",
                steps=args.steps,
                output_dir=args.output,
                allow_missing=args.allow_missing or None,
            )

    parser = flags.add(
        commands,
        run,
        "eval",
        "evaluate a trained model",
        "hyperx eval --model_dir=out --tasks='p3_super_glue_copa.*' --steps=all",
    )
    flags.add_gin(parser)
    flags.add_processes(parser)
    parser.add_argument(
        "--tasks",
        metavar="NAME",
        help="a mixture, a task or a regular expression of names of tasks "
        "(default: what it was trained on)",
    )
    parser.add_argument(
        "--steps",
        metavar="STEPS",
        help="checkpoints: all, latest or such as 100,200 (default: latest)",
    )
    parser.add_argument(
        "--allow_missing",
        action="store_true",
        help="go on without tasks that cannot be read, and average without them",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="where to write (default: eval in the model's)"
    )


def add_inspect(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        if args.list:
            _print_configs()
        else:
            flags.configure(args)
            flags.call("hyperx.runs.inspect.inspect", as_json=args.json)

    parser = flags.add(
        commands,
        run,
        "inspect",
        "count parameters and the size of a task state, without computing them",
        "hyperx inspect --gin_file=models/hint_xl.gin --json",
    )
    flags.add_gin(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--list", action="store_true", help="list the methods and models that exist"
    )


def _print_configs() -> None:
    from hyperx.runs import gin_files

    for folder in ("methods", "models"):
        for name, comment in gin_files.listing(folder).items():
            print(f"{name:<32} {comment}".rstrip())
