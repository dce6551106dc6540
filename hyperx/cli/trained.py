"""Commands that use a trained model; flags are all that they read."""

import argparse
import importlib

from hyperx.cli import flags

_DECODING = {
    "beams": (flags.positive, "search the best output with so many beams"),
    "length_penalty": (
        float,
        "of a beam search: favours longer outputs (default: 0.6)",
    ),
    "temperature": (float, "sample; 1 as the model says, less is safer (default: 1)"),
    "top_k": (flags.positive, "sample from so many most likely tokens"),
    "top_p": (float, "sample from the most likely tokens that sum up to this"),
    "returned": (flags.positive, "outputs per input, as a list (default: 1)"),
    "seed": (int, "of sampling (default: 0)"),
}


def add_infer(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        malformed = _call("infer", args)
        return 1 if malformed else 0

    parser = flags.add(
        commands,
        run,
        "infer",
        "apply a trained model to inputs",
        "echo 'some input' | hyperx infer --model_dir=out --condition='Reverse it.'",
    )
    flags.add_paths(parser, model_dir="DIR: of a trained or imported model")
    flags.add_step(parser)
    flags.add_vocabulary(parser)
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
        "--max_new_tokens", type=flags.positive, metavar="N", help="longest output"
    )
    parser.add_argument(
        "--batch_size", type=flags.positive, metavar="N", help="inputs decoded at once"
    )
    decoding = parser.add_argument_group("decoding (default: greedy)")
    for name, (kind, text) in _DECODING.items():
        metavar = "N" if kind is not float else "X"
        decoding.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)


def add_adapt(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _call("adapt", args)

    parser = flags.add(
        commands,
        run,
        "adapt",
        "read a condition and write the weights it asks for",
        "hyperx adapt --model_dir=out --condition='drop a' --output=task.safetensors",
    )
    flags.add_paths(
        parser, model_dir="DIR: of a trained model", output="FILE: to write"
    )
    flags.add_step(parser)
    parser.add_argument(
        "--condition",
        action="append",
        metavar="TEXT",
        help="what the model reads: a text, or the name of a task; may be repeated; "
        "left out for a model that reads none",
    )


def add_tune(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _call("tune", args)

    parser = flags.add(
        commands,
        run,
        "tune",
        "train generated weights on examples of their task",
        "hyperx tune --model_dir=out --state=task.safetensors --data=train.jsonl "
        "--output=tuned.safetensors",
    )
    flags.add_paths(
        parser,
        model_dir="DIR: of the model that made the state",
        state="FILE: a state of one condition, from `hyperx adapt`",
        data='FILE: JSON lines with "input" and "output"',
        output="FILE: the tuned state, the best that was measured",
    )
    flags.add_step(parser)
    parser.add_argument(
        "--validation",
        metavar="FILE",
        help="as --data, for measurements (default: measured on --data)",
    )
    parser.add_argument(
        "--init",
        choices=["generated", "shared", "random"],
        help="start from the state, from the mean of the states of other conditions, "
        "or from the initial values of ordinary fine-tuning (default: generated)",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="tune from all of these and draw their curves beside --output",
    )
    parser.add_argument(
        "--shared_conditions",
        metavar="FILE",
        help="the other conditions, one per line",
    )
    parser.add_argument(
        "--target_loss", type=float, metavar="X", help="report when it is reached"
    )
    for flag, kind, text in (
        ("--steps", int, "updates (default: 200)"),
        ("--batch_size", flags.positive, "examples per update (default: 16)"),
        ("--learning_rate", float, "highest of a cosine schedule (default: 0.001)"),
        ("--eval_period", flags.positive, "updates between measurements (default: 10)"),
        ("--seed", int, "of data and random starts (default: 0)"),
    ):
        parser.add_argument(flag, type=kind, metavar="N", help=text)


def _call(name: str, args: argparse.Namespace) -> object:
    """Calls the run of that name with the flags that are given."""
    from hyperx.data import startup

    startup.prepare_tensorflow()
    module = importlib.import_module(f"hyperx.runs.{name}")
    return getattr(module, name)(**flags.given(args))
