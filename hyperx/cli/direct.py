"""Commands without a configuration: flags are all that they read."""

import argparse

from hyperx.cli import flags


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
        _check_export(args)
        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import exporting

        given = flags.given(args)
        if args.state is None:
            exporting.export(**given)
        else:
            del given["backbone_only"]
            exporting.export_state(**given)

    parser = flags.add(
        commands,
        run,
        "export",
        "write a checkpoint, or a task state, for another library",
        "hyperx export --model_dir=out --to=hf --output=out_hf",
    )
    flags.add_paths(parser, output="DIR: the new folder")
    parser.add_argument(
        "--model_dir",
        metavar="DIR",
        help="a trained or imported model to export; with --state the model that made "
        "it, which is then checked (needed with --to=hf)",
    )
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="a state to export, from `hyperx adapt` or `hyperx tune`",
    )
    parser.add_argument(
        "--to",
        choices=["hf", "t5x", "peft", "json"],
        required=True,
        help="what will read it. Of a model: hf, Hugging Face transformers; t5x, whose "
        "folders are called checkpoint_<step>. Of a state: peft, onto the backbone of "
        "a model exported with --to=hf; hf, merged into a T5; json, anybody",
    )
    flags.add_step(parser)
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        help="of what is written (default: float32; with --to=json, the state's own)",
    )
    parser.add_argument(
        "--backbone_only",
        action="store_true",
        help="leave out the hypernetwork, which Hugging Face has no place for",
    )


# What can be exported of a model, and of a state.
_OF_MODEL, _OF_STATE = ("hf", "t5x"), ("peft", "hf", "json")


def _check_export(args: argparse.Namespace) -> None:
    """Refuses flags that contradict each other, before anything is imported."""
    allowed = _OF_MODEL if args.state is None else _OF_STATE
    kind = "a model" if args.state is None else "a state (--state)"
    if args.to not in allowed:
        raise ValueError(
            f"expected --to={' or '.join(allowed)} for {kind}, got --to={args.to}"
            + ("; a state is given as --state=FILE" if args.state is None else "")
        )
    if args.model_dir is None and (args.state is None or args.to == "hf"):
        raise ValueError(f"expected --model_dir with --to={args.to}, got none")
    if args.model_dir is None and args.step is not None:
        raise ValueError("expected --model_dir with --step, got none")
    if args.state is not None and args.backbone_only:
        raise ValueError(
            "expected --backbone_only without --state: no exit of a state has a "
            "hypernetwork in it"
        )
    if args.to == "json" and args.dtype is not None:
        raise ValueError("expected no --dtype with --to=json, which changes no number")


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
