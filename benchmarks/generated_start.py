"""Generated weights as a start of fine-tuning, against random and shared ones.

    python -m benchmarks.generated_start

HyperT5-LoRA of the toyworld comparison (trained here if need be) reads three examples
of operations with letters that it has never seen together. From the update that it
writes, from a random one, and from the mean of what it writes for trained tasks,
ordinary LoRA training goes on with one task's data, each start at the best of several
learning rates.
Writes `docs/results/generated_start.{md,png,json}`.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.toyworld.entries import ENTRIES
from benchmarks.toyworld.runs import finish, folder_of
from hyperx.data import startup
from hyperx.data.toyworld import world as toyworld
from hyperx.inference import starts
from hyperx.inference.predictor import Predictor
from hyperx.runs import models
from hyperx.runs.tuning import data as data_lib
from hyperx.runs.tuning.report import COLOURS, STYLE
from hyperx.runs.tuning.tuner import Tuned, Tuner
from hyperx.task_state import TaskState

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "generated_start"
WORLD = toyworld.WORLDS["toyworld_fewshot"]
RATES = (3e-3, 1e-2, 3e-2)
STEPS, BATCH, PERIOD = 200, 16, 5
TRAIN_ROWS, TEST_ROWS = 32, 64
TARGET = 0.1  # nats per token

Curves = dict[str, dict[float, list[Tuned]]]


def main() -> None:
    """Tunes every start on every task and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "out/toyworld")
    parser.add_argument("--tasks", type=int, default=8, help="(default: 8)")
    args = parser.parse_args()
    startup.prepare_tensorflow()
    entry = next(entry for entry in ENTRIES if entry.name == "HyperT5-LoRA")
    finish(entry, 0, args.output)
    predictor = models.load(folder_of(entry, 0, args.output))
    curves = _curves(predictor, args.tasks)
    best = {name: _best_rate(runs) for name, runs in curves.items()}
    chosen = {name: curves[name][rate] for name, rate in best.items()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _write(chosen, best, args.tasks)
    _draw(chosen)


def _curves(predictor: Predictor, tasks: int) -> Curves:
    """Every start at every rate on every task."""
    shared = _shared(predictor)
    tuner = Tuner(predictor, steps=STEPS, batch_size=BATCH, eval_period=PERIOD)
    curves: Curves = {name: {rate: [] for rate in RATES} for name in COLOURS}
    for number, rows in enumerate(_rows("test", tasks, TRAIN_ROWS + TEST_ROWS)):
        state = predictor.adapt(rows[0].task.condition)
        data = [
            data_lib.tokenize(predictor, [_line(row) for row in part])
            for part in (rows[:TRAIN_ROWS], rows[TRAIN_ROWS:])
        ]
        begun = {
            "generated": state,
            "shared": shared,
            "random": starts.random(state, jax.random.key(number)),
        }
        for name, start in begun.items():
            for rate in RATES:
                title = f"task {number + 1}/{tasks}, {name}, {rate:g}"
                tuned = tuner.run(start, *data, learning_rate=rate, name=title)
                curves[name][rate].append(tuned)
    return curves


def _rows(split: str, tasks: int, rows: int) -> list[list[toyworld.Row]]:
    """Rows of each of several tasks; those of ``test`` are never trained."""
    drawn = list(toyworld.generate(WORLD, split, tasks=tasks, rows=rows, seed=1))
    return [drawn[start : start + rows] for start in range(0, len(drawn), rows)]


def _line(row: toyworld.Row) -> dict[str, str]:
    return {"input": toyworld.spell(row.word), "output": toyworld.spell(row.result)}


def _shared(predictor: Predictor) -> TaskState:
    """The mean of what is written for 64 tasks of the training distribution."""
    conditions = [rows[0].task.condition for rows in _rows("train", 64, 1)]
    return starts.mean([predictor.adapt(condition) for condition in conditions])


def _best_rate(runs: Mapping[float, Sequence[Tuned]]) -> float:
    return min(runs, key=lambda rate: _end(runs[rate]))


def _end(runs: Sequence[Tuned]) -> float:
    """Mean lowest loss over tasks; runs that diverge count with what they reached."""
    return float(np.mean([tuned.best.loss for tuned in runs]))


def _write(
    chosen: Mapping[str, Sequence[Tuned]], rates: Mapping[str, float], tasks: int
) -> None:
    rows: dict[str, Any] = {}
    for name, runs in chosen.items():
        reached = [tuned.reaches(TARGET) for tuned in runs]
        rows[name] = {
            "learning_rate": rates[name],
            "loss_at_0": float(np.mean([tuned.curve[0].loss for tuned in runs])),
            "exact_match_at_0": float(np.mean([t.curve[0].exact_match for t in runs])),
            "lowest_loss": _end(runs),
            "exact_match": float(np.mean([t.best.exact_match for t in runs])),
            "steps_to_target": reached,
            "curves": [[[m.step, m.loss] for m in tuned.curve] for tuned in runs],
        }
    RESULTS.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    lines = [
        "# Generated weights as initialisation\n",
        f"`python -m benchmarks.generated_start`: HyperT5-LoRA, {tasks} toyworld tasks "
        f"never seen in training, {TRAIN_ROWS} examples each, held-out loss of "
        f"{TEST_ROWS} others, means over tasks. Every start has the best of the "
        f"learning rates {', '.join(f'{rate:g}' for rate in RATES)}.\n",
        "![held-out loss](generated_start.png)\n",
        f"| start | rate | loss at 0 | exact match at 0 | steps to {TARGET} nats, "
        "median | tasks that get there | lowest loss | exact match there |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        steps = [step for step in row["steps_to_target"] if step is not None]
        median = f"{np.median(steps):.0f}" if steps else "-"
        lines.append(
            f"| {name} | {row['learning_rate']:g} | {row['loss_at_0']:.3f} "
            f"| {row['exact_match_at_0']:.1f} % | {median} | {len(steps)} of {tasks} "
            f"| {row['lowest_loss']:.3f} | {row['exact_match']:.1f} % |"
        )
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[4:]))


def _draw(chosen: Mapping[str, Sequence[Tuned]]) -> None:
    """Every task's curve, and their mean."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, runs in chosen.items():
            colour, losses = COLOURS[name], []
            for tuned in runs:
                steps = [measured.step for measured in tuned.curve]
                losses.append([measured.loss for measured in tuned.curve])
                axes.plot(steps, losses[-1], color=colour, linewidth=0.7, alpha=0.3)
            if len({len(curve) for curve in losses}) == 1:
                mean = np.mean(losses, axis=0)
                axes.plot(steps, mean, color=colour, linewidth=2.5, label=name)
        axes.axhline(TARGET, color="black", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.set_xlabel("updates on one task's data")
        axes.set_ylabel("held-out loss, nats per token")
        axes.legend(frameon=False, title="start")
        figure.savefig(RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
