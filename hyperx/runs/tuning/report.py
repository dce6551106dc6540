"""What tuning reports: a table on the terminal, a picture, and the same as JSON."""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import matplotlib
import rich.box
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from hyperx.runs.tuning.tuner import Tuned

COLOURS = {"generated": "#0b6e99", "shared": "#7a5195", "random": "#d1495b"}
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}

Results = Mapping[str, Tuned]
Targets = Mapping[str, float]


def show(results: Results, targets: Targets, measured_on: str) -> None:
    """Prints a line per start.

    Args:
        results: by name of the start.
        targets: losses by what they are; the table says when each is reached.
        measured_on: the data, in words.
    """
    table = Table(
        title=f"\nmeasured on {measured_on}",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
    )
    headers = ["start", "loss\nat step 0", "lowest\nloss", "at step", "exact match"]
    headers += [f"reaches {loss:.4g}\n({what})" for what, loss in targets.items()]
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left")
    for name, tuned in results.items():
        table.add_row(name, *_cells(tuned), *_reached(tuned, targets))
    # A file or a pipe has no width: leave room for all columns there.
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, width=width).print(table)
    for name, tuned in results.items():
        if tuned.diverged is not None:
            print(f"{name} diverged at step {tuned.diverged}")


def _cells(tuned: Tuned) -> list[str]:
    first, best = tuned.curve[0], tuned.best
    losses = [f"{first.loss:.4f}", f"{best.loss:.4f}"]
    match = f"{first.exact_match:.1f} → {best.exact_match:.1f} %"
    return [*losses, f"{best.step:,}", match]


def _reached(tuned: Tuned, targets: Targets) -> list[str]:
    """When each target is reached: the first step that was measured at it."""
    steps = [tuned.reaches(loss) for loss in targets.values()]
    return ["never" if step is None else f"step {step:,}" for step in steps]


def write(results: Results, targets: Targets, path: str | os.PathLike[str]) -> None:
    """Writes curves and targets as JSON."""
    content = {
        "targets": dict(targets),
        "starts": {name: _described(tuned, targets) for name, tuned in results.items()},
    }
    text = json.dumps(content, indent=2) + "\n"
    pathlib.Path(path).write_text(text, encoding="utf-8")


def _described(tuned: Tuned, targets: Targets) -> dict[str, Any]:
    return {
        "curve": [dataclasses.asdict(measured) for measured in tuned.curve],
        "best": dataclasses.asdict(tuned.best),
        "reaches": {what: tuned.reaches(loss) for what, loss in targets.items()},
        "diverged": tuned.diverged,
    }


def draw(results: Results, targets: Targets, path: str | os.PathLike[str]) -> None:
    """Draws loss and exact match by step, a curve per start, and the targets."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 6), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        loss, match = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        for name, tuned in results.items():
            _draw_curve(name, tuned, targets, loss, match)
        for what, value in targets.items():
            loss.axhline(value, color="0.6", linestyle="--", linewidth=1, zorder=1)
            loss.annotate(
                what,
                (1, value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=8,
                color="0.4",
                bbox=dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1),
            )
        _label(loss, match)
        figure.savefig(path)


def _draw_curve(
    name: str, tuned: Tuned, targets: Targets, loss: Axes, match: Axes
) -> None:
    """One start: its two curves, and rings where it reaches a target."""
    steps = [measured.step for measured in tuned.curve]
    losses = [measured.loss for measured in tuned.curve]
    matches = [measured.exact_match for measured in tuned.curve]
    style = dict(color=COLOURS[name], marker="o", markersize=3, linewidth=1.5)
    loss.plot(steps, losses, label=name, **style)
    match.plot(steps, matches, **style)
    found = {tuned.reaches(value) for value in targets.values()} - {None}
    rings = [(step, losses[steps.index(step)]) for step in sorted(found)]
    for ring in rings:
        loss.plot(*ring, "o", markersize=9, fillstyle="none", color=COLOURS[name])


def _label(loss: Axes, match: Axes) -> None:
    loss.set_title("Tuning from different starts", loc="left")
    loss.set_ylabel("loss, nats per token")
    loss.set_ylim(bottom=0)
    loss.legend(frameon=False)
    match.set_ylabel("exact match, %")
    match.set_ylim(-3, 103)
    match.set_xlabel("updates")
    match.set_xlim(left=0)
    for axes in (loss, match):
        axes.grid(axis="y", alpha=0.25)
