"""The toyworld comparison as a table, a picture and JSON."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.toyworld.entries import SETTINGS

CONTROLS = ("matched", "shuffled", "empty")
COLOURS = {"matched": "#2b6cb0", "shuffled": "#dd6b20", "empty": "#718096"}
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
HEADERS = (
    "method",
    "steps",
    "trained",
    "per task",
    "MFLOP / task",
    "MFLOP / example",
    "seconds",
    *CONTROLS,
)
_ABOUT = """\
# Every method on toyworld

Held-out exact match in percent by greedy decoding, mean ± standard deviation over
seeds. *trained*: parameters that train, with ❄ where the backbone is frozen and comes
from a T5 that has learned to read such conditions in its input. *per task*: generated
numbers that a condition, or for instances an input, costs to keep (memory apart, after
a +). *MFLOP*: matrix products of reading a condition and writing its weights, and of
one example under them. *shuffled* shows each condition to another one's inputs, *empty*
shows none; "-" where a model has no such control.

`{command}` on {machine}, jax {jax}. Seconds are of one training, with compilation.
"""


def write(
    rows: Sequence[Mapping[str, Any]], about: Mapping[str, str], path: pathlib.Path
) -> None:
    """Writes ``path.json``, ``path.md`` and ``path.png``.

    Args:
        rows: of `benchmarks.toyworld.runs.finished`.
        about: ``command``, ``machine`` and ``jax``.
        path: of the files, without suffix.
    """
    content = json.dumps({"about": dict(about), "rows": list(rows)}, indent=1) + "\n"
    path.with_suffix(".json").write_text(content, encoding="utf-8")
    parts = [_ABOUT.format(**about), f"![exact match]({path.name}.png)\n"]
    for setting, described in SETTINGS.items():
        members = [row for row in rows if row["setting"] == setting]
        if members:
            parts += [f"## {described.title}\n", _table(members)]
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(parts), encoding="utf-8")
    os.replace(partial, path.with_suffix(".md"))
    _draw(rows, path.with_suffix(".png"))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [HEADERS, ("---", *("--:",) * (len(HEADERS) - 1))]
    lines += [_cells(row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Text for every one of `HEADERS`."""
    frozen = " ❄" if row["frozen_start"] else ""
    kept = f"{row['generated']:,}" + (f" + {row['memory']:,}" if row["memory"] else "")
    return (
        row["name"],
        f"{row['steps']:,}",
        f"{row['trained']:,}{frozen}",
        kept,
        f"{row['flops_per_task'] / 1e6:.1f}",
        f"{row['flops_per_example'] / 1e6:.1f}",
        f"{np.median(row['seconds']):.0f}",
        *(_score(row["scores"], control) for control in CONTROLS),
    )


def _score(scores: Sequence[Mapping[str, float]], control: str) -> str:
    values = [score[control] for score in scores if control in score]
    if not values:
        return "-"
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def _draw(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """One bar per method; every seed a dot; the controls as ticks."""
    present = [s for s in SETTINGS if any(row["setting"] == s for row in rows)]
    members = [[row for row in rows if row["setting"] == s] for s in present]
    with matplotlib.rc_context(STYLE):
        height = 1.2 * len(present) + 0.3 * len(rows)
        figure = Figure(figsize=(9, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(
            len(present), 1, sharex=True, squeeze=False,
            height_ratios=[len(group) + 1 for group in members],
        )[:, 0]  # fmt: skip
        for axis, setting, group in zip(axes, present, members, strict=True):
            axis.set_title(SETTINGS[setting].title, loc="left")
            _draw_group(group, axis)
        axes[0].legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
        axes[-1].set_xlabel("held-out exact match, %")
        figure.savefig(path)


def _draw_group(rows: Sequence[Mapping[str, Any]], axis: Axes) -> None:
    for place, row in enumerate(rows):
        for control in CONTROLS:
            values = [s[control] for s in row["scores"] if control in s]
            label = control if not place else None
            if control == "matched":
                axis.barh(place, np.mean(values), 0.7, color="#bee3f8", zorder=1)
            marker = {"matched": "o"}.get(control, "|")
            axis.scatter(
                values, [place] * len(values), s=22, marker=marker, zorder=2,
                color=COLOURS[control], label=label,
            )  # fmt: skip
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-1, 102)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25)
