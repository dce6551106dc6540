"""The demo's report: tables on the terminal and a picture."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.ticker
import rich.box
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

FAST_NOTE = (
    "--fast: short schedules and fewer models. The numbers are real but well below "
    "those of the full demo."
)
HEADERS = (
    "model\n  is told by",
    "steps",
    "params",
    "time",
    "matched",
    "shuffled\n(floor)",
    "empty",
)
EXAMPLE_HEADERS = ("instruction", "input", "output", "expected", "")
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
OPACITY = {"matched": 1.0, "shuffled": 0.55, "empty": 0.3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One model's line in the table and its curves.

    Attributes:
        title: of the model.
        given: how it learns of the instruction.
        colour: in the picture.
        steps: of training.
        parameters: all of them are trained.
        seconds: of training, with compilation and the evaluations on the way.
        scores: held-out exact match in percent by control; ``floor`` is what a perfect
            follower of the shuffled instructions scores.
        accuracy: (step, held-out exact match in percent) in training.
        loss: (step, training loss).
    """

    title: str
    given: str
    colour: str
    steps: int
    parameters: int
    seconds: float
    scores: Mapping[str, float]
    accuracy: Sequence[tuple[int, float]]
    loss: Sequence[tuple[int, float]]

    def cells(self) -> tuple[str, ...]:
        """Text for every one of `HEADERS`."""
        shown = {
            name: f"{self.scores[name]:.1f}" if name in self.scores else "-"
            for name in ("matched", "shuffled", "floor", "empty")
        }
        shuffled = shown["shuffled"]
        if "floor" in self.scores:
            shuffled += f"\n({shown['floor']})"
        return (
            f"{self.title}\n  {self.given}",
            f"{self.steps:,}",
            f"{self.parameters:,}",
            f"{self.seconds:.0f} s",
            shown["matched"],
            shuffled,
            shown["empty"],
        )


def show(
    rows: Sequence[Row], examples: Sequence[Mapping[str, Any]], fast: bool
) -> None:
    """Prints the table, and what the first model made of a few test examples.

    Args:
        rows: of the table.
        examples: predictions with ``condition``, ``input``, ``prediction`` and
            ``references``.
        fast: whether to warn that numbers are low.
    """
    console = Console(highlight=False)
    title = "Held-out exact match in percent, by greedy decoding"
    console.print(_table(title, HEADERS, [row.cells() for row in rows], "right"))
    if fast:
        console.print(FAST_NOTE)
    title = f"{rows[0].title} on held-out instructions"
    console.print(_table(title, EXAMPLE_HEADERS, map(example_cells, examples), "left"))


def _table(
    title: str, headers: Sequence[str], rows: Iterable[Sequence[str]], justify: Any
) -> Table:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, header in enumerate(headers):
        table.add_column(header, justify=justify if index else "left")
    for cells in rows:
        table.add_row(*cells)
    return table


def draw(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Draws the learning curves and the table's scores."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 5.2), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(3, 2), height_ratios=(3, 1))
        accuracy = figure.add_subplot(grid[0, 0])
        loss = figure.add_subplot(grid[1, 0], sharex=accuracy)
        _draw_curves(rows, accuracy, loss)
        figure.align_ylabels([accuracy, loss])
        _draw_scores(rows, figure.add_subplot(grid[:, 1]))
        figure.savefig(path)


def _draw_curves(rows: Sequence[Row], accuracy: Axes, loss: Axes) -> None:
    for row in rows:
        accuracy.plot(
            *zip(*row.accuracy, strict=True),
            color=row.colour,
            marker="o",
            markersize=4,
            label=f"{row.title} ({row.steps:,} steps)",
        )
        if row.loss:
            loss.plot(*zip(*row.loss, strict=True), color=row.colour, linewidth=1)
    accuracy.set_title("Learning to follow held-out instructions", loc="left")
    accuracy.set_ylabel("held-out exact match, %")
    accuracy.set_ylim(-3, 103)
    accuracy.set_xlim(left=0)
    accuracy.tick_params(labelbottom=False)
    accuracy.grid(axis="y", alpha=0.25)
    accuracy.legend(frameon=False, fontsize=9)
    loss.set_xlabel("training steps")
    loss.set_ylabel("training loss")
    loss.set_ylim(bottom=0)
    loss.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
    loss.grid(axis="y", alpha=0.25)


def _draw_scores(rows: Sequence[Row], axes: Axes) -> None:
    """Horizontal bars, one per model and control; a tick marks the oracle floor."""
    places, labels = [], []
    place = 0.0
    for row in rows:
        axes.text(1, place, row.title, color=row.colour, weight="bold", va="center")
        for control in (name for name in OPACITY if name in row.scores):
            place += 1
            score = row.scores[control]
            axes.barh(
                place, score, 0.75, color=row.colour, alpha=OPACITY[control], zorder=2
            )
            text = f"{score:.1f}"
            if control == "shuffled":
                text += f"   oracle floor {row.scores['floor']:.1f}"
            axes.text(score + 1.5, place, text, va="center", fontsize=9)
            places.append(place)
            labels.append(control)
        place += 1.6
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 0.6, -0.8)
    axes.set_xlim(0, 115)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="x", alpha=0.25)
    axes.set_title("After training, by what the model is told", loc="left")
    axes.set_xlabel("held-out exact match, %")


def example_cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Text for every one of `EXAMPLE_HEADERS`."""
    expected = record["references"][0]
    right = record["prediction"] == expected
    return (
        record["condition"],
        record["input"],
        record["prediction"],
        expected,
        "✓" if right else "✗",
    )
