"""The command `plan`."""

import argparse
import os

from hyperx.cli import flags

# How it is configured, before what is given.
_CONFIGURATION = "runs/plan.gin"


def add_plan(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        files = args.gin_file
        if args.model_dir is not None and not files:
            files = [os.path.join(args.model_dir, "config.gin")]
        args.gin_file = [_CONFIGURATION, *files] if files else []
        flags.configure(args)
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
