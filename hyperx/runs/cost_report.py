"""Costs as they are printed and drawn."""

import os
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

_COLOURS = {
    "kept state": "#0072B2",
    "reference mode": "#D55E00",
    "concatenation": "#009E73",
    "decoder-only": "#CC79A7",
}


def show(told: Mapping[str, Any]) -> None:
    """Prints what `hyperx.runs.cost.cost` found."""
    console = Console(highlight=False, soft_wrap=True)
    use, backbone = told["use"], told["backbone"]
    console.print(
        f"{told['method']}, width {backbone['embed_dim']}, "
        f"{backbone['num_encoder_layers']} + {backbone['num_decoder_layers']} layers, "
        f"{backbone['dtype']}: condition {use['condition']}, input {use['inputs']}, "
        f"target {use['targets']} tokens; {use['rows']} rows together, "
        f"beams {use['beams']}"
    )
    console.print(_stages(told))
    console.print(_operations(told))
    console.print(_bytes(told))
    layers = told["decoder_only_layers"]
    console.print(
        f"decoder-only: {layers:.1f} layers, so that it has as many weights; the "
        "condition stays in its cache. Operations are those of matrix products, two "
        "for a multiplication with its addition."
    )


def _stages(told: Mapping[str, Any]) -> Table:
    """Every stage of the kept state, with the cost of one decoded token."""
    table = _table("with a kept state", ("FLOP", "of attention", "bytes moved"))
    kept = told["alternatives"]["kept state"]
    for name, stage in kept["once"].items():
        table.add_row(f"{name}, once", *_stage(stage))
    table.add_section()
    for name, stage in kept["each"].items():
        table.add_row(f"{name}, per example", *_stage(stage))
    targets = told["use"]["targets"]
    token = {k: v / targets for k, v in kept["each"]["decode"].items()}
    table.add_row("decode, per token", *_stage(token))
    return table


def _stage(stage: Mapping[str, float]) -> tuple[str, str, str]:
    values = (stage["flops"], stage["of_attention"])
    return (*map(short, values), binary(stage["moved"]))


def _operations(told: Mapping[str, Any]) -> Table:
    title = f"FLOP for a task of {told['examples']:,} examples"
    columns = ("per task", "per example", "in all", "relative", "state pays")
    table = _table(title, columns)
    for name, found in told["alternatives"].items():
        flops = found["flops"]
        table.add_row(
            name,
            *(short(flops[key]) for key in ("task", "example", "all_examples")),
            f"{flops['of_kept_state']:.2f}",
            "" if name == "kept state" else _from(found["break_even"]),
        )
    return table


def _bytes(told: Mapping[str, Any]) -> Table:
    title = f"bytes moved; and held, for one task and {told['use']['rows']} rows"
    columns = ("moved", "parameters", "per task", "per row", "in all")
    table = _table(title, columns)
    for name, found in told["alternatives"].items():
        memory = found["memory"]
        kinds = ("parameters", "task", "row", "one_task")
        values = (found["moved"], *(memory[kind] for kind in kinds))
        table.add_row(name, *map(binary, values))
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _from(examples: int | None) -> str:
    return "never" if examples is None else f"from {examples:,} on"


def short(value: float) -> str:
    """Three digits and a decimal prefix: 2.71 T."""
    return _scaled(value, 1000, ("", " k", " M", " G", " T", " P", " E"))


def binary(value: float) -> str:
    """Three digits and a binary prefix: 305 MiB."""
    return _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    while value >= 0.9995 * base and power < len(units) - 1:
        value, power = value / base, power + 1
    digits = f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"
    return digits + units[power]


def draw(told: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws operations by number of examples, and where the kept state breaks even."""
    with matplotlib.rc_context({"axes.spines.right": False, "axes.spines.top": False}):
        figure = Figure(figsize=(7.5, 4.5), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        # Past the break-even, if that is far.
        known = [found["break_even"] or 1 for found in told["alternatives"].values()]
        last = max(told["examples"], *(2 * count for count in known), 10)
        counts = np.unique(np.geomspace(1, last, 200).round())
        for name, found in told["alternatives"].items():
            flops = found["flops"]
            line = flops["task"] + counts * flops["example"]
            axes.plot(counts, line, label=name, color=_COLOURS[name], linewidth=1.8)
        _mark(told, axes)
        use = told["use"]
        axes.set_title(
            f"{told['method']}: condition {use['condition']}, input {use['inputs']}, "
            f"target {use['targets']} tokens",
            loc="left",
        )
        axes.set(xscale="log", yscale="log", xlim=(1, last))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("examples of the task")
        axes.set_ylabel("floating-point operations in all")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        figure.savefig(path)


def _mark(told: Mapping[str, Any], axes: Axes) -> None:
    """A ring where the kept state costs no more than another way."""
    kept = told["alternatives"]["kept state"]["flops"]
    for name, found in told["alternatives"].items():
        count = found["break_even"]
        if name == "kept state" or count in (None, 1):
            continue
        point = (count, kept["task"] + count * kept["example"])
        axes.plot(*point, "o", color=_COLOURS[name], fillstyle="none", markersize=9)
        axes.annotate(
            f"{count:,}", point, (6, -12), textcoords="offset points", fontsize=9
        )
