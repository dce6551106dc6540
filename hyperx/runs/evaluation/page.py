"""What an evaluation found, as one self-contained HTML page; and its picture."""

import base64
import html
import io
import math
import string
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperx.runs.evaluation import sections as sections_lib
from hyperx.runs.evaluation.summary import Summary
from hyperx.runs.evaluation.tables import Table

# Of tasks in the picture; if there are more, all are grey.
TASK_COLOURS = ("#2a9d8f", "#e0b13c", "#7a5195", "#d16ba5", "#8d6e63", "#7cb342")
COLOURS = {"matched": "#0b6e99", "shuffled": "#d9722e", "empty": "#888888"}
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}

TEMPLATE = string.Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
  body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff;
         max-width: 68rem; margin: 3rem auto; padding: 0 1.5rem; }
  h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .6rem; }
  h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
  p { max-width: 46rem; overflow-wrap: anywhere; }
  img { max-width: 100%; height: auto; margin: 1rem 0; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem;
          font-variant-numeric: tabular-nums; }
  th, td { text-align: left; vertical-align: baseline; white-space: nowrap;
           padding: .3rem 1.6rem .3rem 0; border-bottom: 1px solid #e4e4e4; }
  thead th { border-bottom: 1.5px solid #888; }
  .number { text-align: right; }
</style>

<h1>$title</h1>
$body
</html>
""")


def page(summary: Summary, picture: bytes | None = None) -> str:
    """The report as HTML.

    Args:
        summary: what was found.
        picture: a PNG to show, or None.
    """
    parts = [_paragraph(text) for text in sections_lib.introduction(summary)]
    if picture is not None:
        data = base64.b64encode(picture).decode()
        parts.append(
            f'<img src="data:image/png;base64,{data}" alt="Main metric by checkpoint">'
        )
    for section in sections_lib.sections(summary):
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        for item in section.content:
            parts.append(_table(item) if isinstance(item, Table) else _paragraph(item))
    return TEMPLATE.substitute(
        title=html.escape(f"Evaluation of {summary.model}"), body="\n".join(parts)
    )


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _table(table: Table) -> str:
    def cells(tag: str, row: Sequence[str], number: int | None) -> Iterable[str]:
        for place, cell in enumerate(row):
            text = html.escape(cell)
            if (number, place) in table.bold:
                text = f"<b>{text}</b>"
            kind = ' class="number"' if place >= table.texts else ""
            yield f"<{tag}{kind}>{text}</{tag}>"

    head = "".join(cells("th", table.headers, None))
    body = "\n".join(
        f"<tr>{''.join(cells('td', row, number))}</tr>"
        for number, row in enumerate(table.rows)
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(summary: Summary) -> bytes:
    """A PNG of the main metric of every task by checkpoint, and of their mean."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        named = len(summary.tasks) <= len(TASK_COLOURS)
        if len(summary.tasks) > 1:
            for number, task in enumerate(summary.tasks):
                label = task if named else "each task" if not number else None
                colour = TASK_COLOURS[number] if named else "0.8"
                values = summary.values(task)
                _draw(axes, values, label, colour, width=1)
        for control in summary.controls:
            _draw(axes, _means(summary, control), _label(summary, control),
                  COLOURS[control], width=2.5)  # fmt: skip
        axes.set_xlabel("checkpoint")
        axes.set_ylabel(_metric(summary))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        with io.BytesIO() as file:
            figure.savefig(file, format="png")
            return file.getvalue()


def _means(summary: Summary, control: str) -> dict[int, float | None]:
    """The mean over the tasks by checkpoint, where all have a value."""
    by_task = [summary.values(task, control) for task in summary.tasks]
    by_task = [of_task for of_task in by_task if set(of_task.values()) != {None}]
    means: dict[int, float | None] = {}
    for step in summary.steps:
        found = [of_task[step] for of_task in by_task]
        whole = found and all(value is not None for value in found)
        means[step] = math.fsum(found) / len(found) if whole else None
    return means


def _draw(
    axes: Axes,
    values: Mapping[int, float | None],
    label: str | None,
    colour: str,
    width: float,
) -> None:
    known = {step: value for step, value in values.items() if value is not None}
    if known:
        axes.plot(*zip(*known.items(), strict=True), "o-", label=label, color=colour,
                  linewidth=width, markersize=2 + width)  # fmt: skip


def _label(summary: Summary, control: str) -> str:
    return control if len(summary.tasks) == 1 else f"mean, {control}"


def _metric(summary: Summary) -> str:
    names = {summary.main_metric(task) for task in summary.tasks} - {None}
    return names.pop().replace("_", " ") if len(names) == 1 else "main metric"
