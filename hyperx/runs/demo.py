"""The demo: a tiny hypernetwork learns to follow instructions it has never seen.

Trains the models of `PARTS` on toyworld, one after the other, each as `hyperx train`
would, tests them on held-out instructions and writes a report. The same command after
an interruption goes on where it stopped.
"""

import os
import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hyperx.runs import metrics_log
from hyperx.runs.demonstration import page as page_lib
from hyperx.runs.demonstration import part as part_lib
from hyperx.runs.demonstration import report as report_lib
from hyperx.runs.demonstration.part import Journal, Part
from hyperx.runs.demonstration.report import Row

PARTS = (
    Part(
        name="hint",
        title="HINT",
        given="adapters, prefixes, memory",
        method="methods/hint.gin",
        steps=1500,
        colour="#1f5fa8",
    ),
    Part(
        name="adapters",
        title="HINT, adapters alone",
        given="adapters",
        method="methods/hint.gin",
        bindings=("hint.Hint.prefix_length = 0", "hint.Hint.fusion = False"),
        steps=1000,
        fast_steps=600,
        colour="#d9722e",
    ),
    Part(
        name="concatenation",
        title="concatenation",
        given="text before the input",
        method="methods/concatenation.gin",
        steps=1500,
        colour="#3f8f5f",
    ),
    Part(
        name="no_instruction",
        title="no instruction",
        given="nothing",
        method="methods/inputs_only.gin",
        steps=300,
        colour="#7d7d7d",
    ),
)
EVAL_PERIOD, FAST_EVAL_PERIOD = 250, 150
EXPECTED, FAST_EXPECTED = "about 8 minutes", "about a minute"

EXAMPLES = 5
# Neither this pair of letters nor this input occurs in training.
TRY_CONDITION, TRY_INPUT = "replace b with z", "x a b"


def demo(
    output: str | os.PathLike[str], fast: bool = False, seed: int = 0
) -> list[Row]:
    """Trains, tests and reports.

    Args:
        output: folder of the models and the report.
        fast: about a minute, with fewer models, fewer steps and lower numbers.
        seed: of initialisation and the order of the data.

    Returns:
        The rows of the table; fewer than there are parts if SIGTERM ended one.

    Raises:
        ValueError: if `output` holds a demo with other settings.
    """
    started = time.monotonic()
    folder = pathlib.Path(output)
    plan = [(part, part.fast_steps if fast else part.steps) for part in PARTS]
    plan = [(part, steps) for part, steps in plan if steps is not None]
    steps_of = {part.name: steps for part, steps in plan}
    journal = Journal(folder, {"fast": fast, "seed": seed, "steps": steps_of})
    _announce(folder, len(plan), fast)
    rows: list[Row] = []
    for number, (part, steps) in enumerate(plan, start=1):
        heading = f"{part.title}, told by {part.given}: {steps} steps"
        print(f"\n[{number}/{len(plan)}] {heading}", flush=True)
        done = part_lib.complete(
            part,
            folder / part.name,
            journal,
            steps=steps,
            period=FAST_EVAL_PERIOD if fast else EVAL_PERIOD,
            seed=seed,
        )
        if not done:
            print("\nstopped; the same command goes on from here")
            return rows
        rows.append(_row(part, steps, folder / part.name, journal.part(part.name)))
    print(f"\n{time.monotonic() - started:.0f} seconds in all")
    _report(rows, plan[0][0].name, folder, fast, seed)
    return rows


def _announce(folder: pathlib.Path, parts: int, fast: bool) -> None:
    print(
        f"Training {parts} tiny {'model' if parts == 1 else 'models'} in {folder}: "
        f"{FAST_EXPECTED if fast else EXPECTED} on two CPU cores.\n"
        "Instructions rewrite short strings of letters; the test asks for pairs of\n"
        "letters, and strings, that training never contains."
    )
    if fast:
        print(report_lib.FAST_NOTE)


def _row(part: Part, steps: int, folder: pathlib.Path, entry: Mapping[str, Any]) -> Row:
    log = metrics_log.read(folder)
    curves = {
        name: [
            (record["step"], record["values"][metric])
            for record in log
            if record["collection"] == collection
        ]
        for name, collection, metric in (
            ("accuracy", "eval", "matched/exact_match"),
            ("loss", "train", "loss"),
        )
    }
    if steps not in dict(curves["accuracy"]):
        curves["accuracy"].append((steps, entry["scores"]["matched"]))
    return Row(
        title=part.title,
        given=part.given,
        colour=part.colour,
        steps=steps,
        parameters=entry["parameters"],
        seconds=entry["seconds"],
        scores=entry["scores"],
        **curves,
    )


def _report(
    rows: Sequence[Row], first: str, folder: pathlib.Path, fast: bool, seed: int
) -> None:
    """Prints the table, examples of the first part, and what to try next."""
    records = part_lib.predictions(folder / first, "matched", rows[0].steps)
    examples = records[:: max(len(records) // EXAMPLES, 1)][:EXAMPLES]
    flags = [f"--output={shlex.quote(str(folder))}", *(["--fast"] if fast else [])]
    command = " ".join(["hyperx demo", *flags, f"--seed={seed}"])
    report_lib.show(rows, examples, fast)
    path = page_lib.write(folder, rows, examples, command, fast)
    model_dir = folder / first
    print(
        f"report: {path}\n\n"
        "Try it: neither this pair of letters nor this string was trained.\n\n"
        f'  echo "{TRY_INPUT}" | hyperx infer'
        f' --model_dir={shlex.quote(str(model_dir))} --condition="{TRY_CONDITION}"\n\n'
        "or in Python:\n\n"
        "  import hyperx\n"
        f'  model = hyperx.load("{model_dir}")\n'
        f'  state = model.adapt("{TRY_CONDITION}")\n'
        f'  print(model.generate(["{TRY_INPUT}"], state))'
    )
