"""Commands without a configuration: flags are all that they read."""

import argparse

from hyperx.cli import flags


def add_adapt(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import adapt

        adapt.adapt(**flags.given(args))

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
    parser.add_argument(
        "--condition",
        action="append",
        metavar="TEXT",
        help="what the model reads: a text, or the name of a task; may be repeated; "
        "left out for a model that reads none",
    )


def add_tune(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import tune

        tune.tune(**flags.given(args))

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


def add_import(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import importing

        how = {"config": args.config, "backbone_only": args.backbone_only}
        if args.format == "t5x":
            importing.from_t5x(args.source, args.to, **how)
        elif any(how.values()):
            raise ValueError("expected --config, --backbone_only with --from=t5x only")
        else:
            importing.from_huggingface(args.source, args.to)

    parser = flags.add(
        commands,
        run,
        "import",
        "read a checkpoint of another library",
        "hyperx import --from=hf google/t5-v1_1-small --to=t5_1_1_small",
    )
    parser.add_argument(
        "--from",
        dest="format",
        choices=["hf", "t5x"],
        required=True,
        help="what wrote it: hf, a folder of Hugging Face transformers; t5x, one of "
        "its folders checkpoint_<step>",
    )
    parser.add_argument("source", metavar="DIR", help="the folder to read")
    parser.add_argument("--to", required=True, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="t5x: a gin file with its BACKBONE, such as backbones/t5_1_1_base.gin "
        "(default: as the shapes of the parameters tell)",
    )
    parser.add_argument(
        "--backbone_only",
        action="store_true",
        help="t5x: leave out parameters that are not a T5's",
    )


def add_export(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import exporting

        exporting.export(**flags.given(args))

    parser = flags.add(
        commands,
        run,
        "export",
        "write a checkpoint for another library",
        "hyperx export --model_dir=out --to=hf --output=out_hf",
    )
    flags.add_paths(
        parser,
        model_dir="DIR: of a trained or imported model",
        output="DIR: the new folder",
    )
    parser.add_argument(
        "--to",
        choices=["hf", "t5x"],
        required=True,
        help="what will read it: hf, Hugging Face transformers; t5x, whose folders are "
        "called checkpoint_<step>",
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help="of the checkpoint (default: the newest)"
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        help="of the parameters (default: float32)",
    )
    parser.add_argument(
        "--backbone_only",
        action="store_true",
        help="leave out the hypernetwork, which Hugging Face has no place for",
    )


def add_demo(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> None:
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import demo

        demo.demo(args.output, args.fast, args.seed)

    parser = flags.add(
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
