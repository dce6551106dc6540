"""Commands that tell what a model needs before it is run: `plan` and `cost`."""

import argparse
import os

from hyperx.cli import flags

# Flags of `cost` that are numbers.
_COST = {
    "examples": "inputs of the task (default: 100)",
    "condition_length": "tokens of the condition (default: 512)",
    "input_length": "tokens of an input (default: 128)",
    "target_length": "tokens that are decoded (default: 32)",
    "rows": "inputs that are computed together (default: 32)",
    "beams": "of decoding (default: 1)",
}


def add_plan(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        from hyperx.runs.planning import slices

        slices.prepare()
        _configure(args, "runs/plan.gin")
        told = flags.call(
            "hyperx.runs.plan.plan",
            topology=args.topology,
            mesh=args.mesh,
            slices=args.slices,
            decode=args.decode,
            as_json=args.json,
        )
        return 0 if told["fits"] else 1

    parser = flags.add(
        commands,
        run,
        "plan",
        "compile a run for a TPU slice, on a machine without one, to see if it fits",
        "hyperx plan --gin_file=models/hint_xl.gin --topology=v4:4x4x8 "
        "--mesh=data=32,model=4",
    )
    flags.add_gin(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="SLICE",
        help="v4, v5e, v5p or v6e, a colon, and the shape in chips, such as v5p:4x4x8",
    )
    parser.add_argument(
        "--mesh",
        metavar="AXES",
        help="sizes of the mesh, such as data=32,model=4 or data=8,fsdp=4,model=4 "
        "(default: FSDP, MODEL_PARALLEL and the rest)",
    )
    parser.add_argument(
        "--slices", type=flags.positive, default=1, metavar="N", help="(default: 1)"
    )
    parser.add_argument(
        "--decode",
        action="store_true",
        help="plan evaluation's decoding (EVAL_GROUPS x EVAL_ROWS) instead of training",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _configure(args: argparse.Namespace, first: str) -> None:
    """Reads `first` before what is given; else the trained model's configuration."""
    files = args.gin_file
    if args.model_dir is not None and not files:
        files = [os.path.join(args.model_dir, "config.gin")]
    args.gin_file = [first, *files] if files else []
    flags.configure(args)


def add_cost(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        _configure(args, "runs/cost.gin")
        flags.call(
            "hyperx.runs.cost.cost",
            **{name: getattr(args, name) for name in _COST},
            as_json=args.json,
            output=args.output,
        )

    parser = flags.add(
        commands,
        run,
        "cost",
        "tell what serving a task costs, and from how many examples on it pays",
        "hyperx cost --gin_file=models/hint_xl.gin --examples=100 "
        "--condition_length=512 --output=cost",
    )
    flags.add_gin(parser)
    for name, text in _COST.items():
        parser.add_argument(f"--{name}", type=flags.positive, metavar="N", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--output", metavar="DIR", help="receives cost.json and a picture, cost.png"
    )
