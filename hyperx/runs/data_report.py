"""Rows, lengths and mixtures for people: tables on a terminal, and a picture."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import rich.box
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from hyperx.data import browser
from hyperx.data.browser import PERCENTILES, Lengths, Measured

STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
BLUE, RED, GREY = "#0b6e99", "#d1495b", "0.6"
# Characters of a text that are shown of its beginning and of its end.
BEGINNING, END = 500, 200
NAMED = 40  # tasks whose names fit beneath a picture


def print_row(row: browser.Row, number: str, *, full: bool) -> None:
    """Prints one row.

    Args:
        row: to print.
        number: where it stands.
        full: print long texts whole.
    """
    console = _console()
    told = [row.columns[name] for name in ("task", "id") if name in row.columns]
    title = " · ".join([row.task, number, *(t for t in told if t != row.task)])
    console.print(Rule(Text(title), align="left"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in row.texts.items():
        table.add_row(name, _tokens(text), _shown(text, full))
    hidden = {"task", "id", "answer"}
    for name, value in row.columns.items():
        if name not in hidden:
            table.add_row(name, "", _column(name, value, row.columns, full))
    console.print(table)
    console.print()


def _tokens(text: browser.Text) -> str:
    limit = "" if text.limit is None else f"/{text.limit:,}"
    return f"{text.tokens:,}{limit}"


def _shown(text: browser.Text, full: bool) -> Text:
    shown = Text(_short(text.kept, full))
    if text.cut:
        cut = text.tokens - text.limit
        shown.append(f"\n[cut here: {cut:,} more tokens]\n", style="red")
        shown.append(_short(text.cut, full), style="dim")
    return shown


def _short(text: str, full: bool) -> str:
    hidden = len(text) - BEGINNING - END
    if full or hidden <= 0:
        return text
    return f"{text[:BEGINNING]} [... {hidden:,} characters ...] {text[-END:]}"


def _column(name: str, value: Any, columns: Mapping[str, Any], full: bool) -> Text:
    """A value, or one line for each of several; the right choice is marked."""
    if not isinstance(value, list):
        return Text(_short(str(value), full))
    ranked = name.startswith("choice") and "answer" in columns
    lines = [_short(str(part), full) for part in value]
    if ranked:
        marks = ["→" if i == columns["answer"] else " " for i in range(len(lines))]
        lines = [f"{mark} {line}" for mark, line in zip(marks, lines, strict=True)]
    return Text("\n".join(lines))


def print_lengths(features: Mapping[str, Lengths], title: str) -> None:
    """Prints a line for each feature."""
    limited = any(lengths.limit is not None for lengths in features.values())
    headers = ["feature", *(f"{p} %" for p in PERCENTILES), "longest"]
    table = _table(title, headers + (["limit", "cut", "padding"] if limited else []))
    for name, lengths in features.items():
        report = lengths.report()
        cells = [f"{length:,}" for length in report["percentiles"].values()]
        cells.append(f"{report['longest']:,}")
        if lengths.limit is not None:
            cut = 100 * report["cut"] / len(lengths.tokens)
            padding = 100 * report["padding"]
            cells += [f"{lengths.limit:,}", f"{cut:.1f} %", f"{padding:.1f} %"]
        table.add_row(name, *cells)
    _console().print(table)


def print_tasks(measured: Measured, title: str) -> None:
    """Prints a line for each task: its rows, and how often they are drawn."""
    rows = measured.rows.sum()
    headers = ["task", "rows", "share", "mixing rate", "drawn"]
    table = _table(f"{title} · {rows:,} rows, {len(measured.tasks):,} tasks", headers)
    numbers = zip(measured.tasks, measured.rows, measured.rates, strict=True)
    for task, count, rate in numbers:
        share = count / rows
        often = f"{rate / share:.2f} x" if count else ""
        table.add_row(
            task, f"{count:,}", f"{100 * share:.2f} %", f"{100 * rate:.2f} %", often
        )
    _console().print(table)


def _table(title: str, headers: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left", no_wrap=True)
    return table


def _console() -> Console:
    # A file or a pipe has no width: leave room for all columns there.
    width = None if sys.stdout.isatty() else 120
    return Console(highlight=False, width=width)


def draw(measured: Measured, title: str, path: str | os.PathLike[str]) -> None:
    """Draws how long the features are and, of a mixture, how often tasks are drawn."""
    panels, mixed = len(measured.features), len(measured.tasks) > 1
    with matplotlib.rc_context(STYLE):
        size = (7.5, 0.6 + 1.4 * panels + (3.2 if mixed else 0))
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        ratios = [1] * panels + ([2] if mixed else [])
        axes = figure.subplots(len(ratios), height_ratios=ratios, squeeze=False)[:, 0]
        top = max(max(f.tokens.max(), f.limit or 0) for f in measured.features.values())
        for panel, name in zip(axes, measured.features, strict=False):
            _draw_lengths(panel, name, measured.features[name], top)
        axes[panels - 1].set_xlabel("tokens")
        if mixed:
            _draw_rates(axes[-1], measured)
        axes[0].set_title(f"{title} · {measured.rows.sum():,} rows", loc="left")
        with path.open("wb") as file:
            figure.savefig(file, format="png")


def _draw_lengths(axes: Axes, name: str, lengths: Lengths, top: int) -> None:
    """A histogram from 1 to `top` tokens, and the limit."""
    edges = np.unique(np.round(np.geomspace(1, top + 1, 60))) - 0.5
    axes.hist(np.maximum(lengths.tokens, 1), bins=edges, color=BLUE)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0.7, 1.05 * edges[-1])
    axes.set_ylabel("rows")
    report, label = lengths.report(), name
    if lengths.limit is not None:
        axes.axvline(lengths.limit + 0.5, color=RED, linewidth=1)
        cut = 100 * report["cut"] / len(lengths.tokens)
        label += f"\nlimit {lengths.limit:,}: {cut:.1f} % cut"
        label += f"\n{100 * report['padding']:.0f} % padding"
    place = dict(xycoords="axes fraction", ha="left", va="top")
    axes.annotate(label, (1.01, 1), annotation_clip=False, **place)


def _draw_rates(axes: Axes, measured: Measured) -> None:
    order = np.argsort(-measured.rates, kind="stable")
    number = np.arange(len(order))
    share = 100 * measured.rows / measured.rows.sum()
    size = 4 if len(order) <= NAMED else 2
    axes.plot(number, share[order], "o", color=GREY, ms=size, label="share of rows")
    rates = 100 * measured.rates[order]
    axes.plot(number, rates, "o", color=BLUE, ms=size, label="mixing rate")
    axes.set_yscale("log")
    axes.set_ylabel("%")
    axes.legend(frameon=False)
    if len(order) <= NAMED:
        names = [measured.tasks[i] for i in order]
        axes.set_xticks(number, names, rotation=90, fontsize=6)
    else:
        axes.set_xlabel("tasks by mixing rate")
