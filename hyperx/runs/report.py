"""Tables of an evaluation, for people."""

import sys
from collections.abc import Mapping
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table


def print_metrics(summary: Mapping[str, Any]) -> None:
    """Prints what `hyperx.runs.evaluate.evaluate` found.

    Args:
        summary: ``task``, ``split``, ``step``, ``data`` (counts by task) and
            ``metrics`` (metric by control and task).
    """
    # A file or a pipe has no width: leave room for all columns there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    metrics = summary["metrics"]
    for task in next(iter(metrics.values())):
        by_control = {control: tasks[task] for control, tasks in metrics.items()}
        console.print(f"{task} · {summary['split']} · step {summary['step']}")
        console.print(_table(by_control))
        console.print(_counts(summary["data"].get(task, {})))


def _table(by_control: Mapping[str, Mapping[str, float]]) -> Table:
    """One row for the whole task and one per category; a column per metric, control."""
    matched = next(iter(by_control.values()))
    names = [name for name in matched if "/" not in name]
    table = Table(box=rich.box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in names:
        for control in by_control:
            header = f"{name.replace('_', ' ')}\n{control}"
            table.add_column(header, justify="right", no_wrap=True)
    rows = {"all": ""}
    prefix = f"{names[0]}/category/"
    categories = [name[len(prefix) :] for name in matched if name.startswith(prefix)]
    rows |= {category: f"/category/{category}" for category in sorted(categories)}
    for label, suffix in rows.items():
        cells = [
            f"{values.get(name + suffix, float('nan')):.1f}"
            for name in names
            for values in by_control.values()
        ]
        table.add_row(label, *cells)
    return table


def _counts(data: Mapping[str, Any]) -> str:
    cut = ", ".join(
        f"{count} {feature}" for feature, count in data.get("truncated", {}).items()
    )
    parts = [f"{data.get('examples', 0)} examples"]
    if "conditions" in data:
        parts.append(f"{data['conditions']} conditions")
    if cut:
        parts.append(f"cut to length: {cut}")
    return "; ".join(parts) + "\n"
