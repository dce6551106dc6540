"""Commands that serve."""

import argparse

from hyperx.cli import flags


def add_serve(commands: flags.Commands) -> None:
    def run(args: argparse.Namespace) -> int:
        import os

        from hyperx.data import startup

        startup.prepare_tensorflow()
        from hyperx.runs import models
        from hyperx.serve import server, settings

        given = flags.given(args)
        where = {
            name: given.pop(name, None) for name in ("model_dir", "step", "vocabulary")
        }
        token = settings.read_token(
            given.pop("token_file", None), os.environ.get("HYPERX_TOKEN")
        )
        chosen = settings.Settings(token=token, **given)
        return server.serve(models.load(**where), chosen)

    parser = flags.add(
        commands,
        run,
        "serve",
        "answer requests over HTTP, each condition read once",
        "hyperx serve --model_dir=out --spill=states",
    )
    flags.add_paths(parser, model_dir="DIR: of a trained model")
    flags.add_step(parser)
    flags.add_vocabulary(parser)
    _add_access(parser.add_argument_group("access"))
    _add_limits(parser.add_argument_group("limits"))
    _add_states(parser.add_argument_group("task states"))
    _add_compiled(parser.add_argument_group("what is compiled before requests come"))


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host",
        metavar="ADDRESS",
        help="to listen at (default: 127.0.0.1, which this machine alone reaches)",
    )
    group.add_argument(
        "--port", type=int, metavar="N", help="0 for any that is free (default: 8000)"
    )
    group.add_argument(
        "--token_file",
        metavar="FILE",
        help="with the token that requests have to bear (default: that of the "
        "environment variable HYPERX_TOKEN, or none)",
    )
    group.add_argument(
        "--allow_public",
        action="store_true",
        default=None,
        help="serve others without a token",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for flag, text in (
        ("--max_inputs", "inputs of a request (default: 64)"),
        ("--max_choices", "choices of an input to score (default: 64)"),
        ("--max_new_tokens", "tokens of an output (default: 128)"),
        ("--max_queue", "inputs that wait (default: 256); beyond them, status 429"),
        ("--max_body", "bytes of a request (default: 1048576)"),
    ):
        group.add_argument(flag, type=flags.positive, metavar="N", help=f"most {text}")
    group.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="from a request to its answer (default: 60)",
    )


def _add_states(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bank_bytes",
        type=flags.positive,
        metavar="N",
        help="most bytes of states in memory (default: 1073741824)",
    )
    group.add_argument(
        "--spill",
        metavar="DIR",
        help="keep states there as well, and find them again after a restart",
    )
    group.add_argument(
        "--spill_bytes",
        type=flags.positive,
        metavar="N",
        help="most bytes there (default: no limit)",
    )


def _add_compiled(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max_batch",
        type=flags.positive,
        metavar="N",
        help="inputs that are computed together, a power of two (default: 16)",
    )
    for flag, text in (
        ("--beams", "widths of beam search on offer; empty for none (default: 4)"),
        ("--input_lengths", "to which inputs are padded (default: as trained)"),
        ("--condition_lengths", "to which conditions are (default: as trained)"),
    ):
        group.add_argument(flag, type=_numbers, metavar="N[,N...]", help=text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(flags.positive(part) for part in text.split(",") if part)
