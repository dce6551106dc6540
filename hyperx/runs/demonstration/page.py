"""The demo's report as one HTML page that needs nothing else, and no network."""

import base64
import html
import os
import pathlib
import platform
import string
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax

from hyperx.runs.demonstration import report as report_lib
from hyperx.runs.demonstration.report import Row

PICTURE, PAGE = "report.png", "report.html"
TEMPLATE = string.Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>hyperx demo</title>
<style>
  body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff;
         max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }
  h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .6rem; }
  h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
  p, li { max-width: 42rem; }
  img { width: 100%; height: auto; margin: 1rem 0; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; margin: 1rem 0; font-size: .94rem;
          font-variant-numeric: tabular-nums; }
  th, td { text-align: left; vertical-align: baseline; white-space: nowrap;
           padding: .35rem 2.2rem .35rem 0; border-bottom: 1px solid #e4e4e4; }
  thead th { border-bottom: 1.5px solid #888; }
  .scores :is(th, td):not(:first-child) { text-align: right; }
  small { color: #666; font-size: .86em; font-weight: 400; }
  code { font: .92em ui-monospace, monospace; }
  .note { border-left: 3px solid #d9722e; padding-left: .8rem; }
  footer { margin-top: 3rem; color: #666; font-size: .88rem; }
</style>

<h1>A hypernetwork follows instructions it has never seen</h1>
<p>Every task is an instruction that rewrites a short string of letters. A hypernetwork
reads the instruction once and writes the weights with which a small T5, shown the
string alone, carries it out.</p>
$note
<div class="wide">$table</div>
<p>Exact match on the held-out test split, in percent, by greedy decoding. The time is
that of training, with compilation and the evaluations on the way.</p>
<img src="data:image/png;base64,$picture" alt="Learning curves and scores">

<h2>How to read it</h2>
<p>The test instructions name pairs of letters that no training instruction names, and
the test strings occur nowhere in training. An answer counts only if all of it is right.
Copying the input scores nothing: every instruction changes its string.</p>
<ul>
<li><b>Matched</b>: the model reads the instruction that belongs to the input.</li>
<li><b>Shuffled</b>: it reads the instruction of another test task. A model that really
follows what it is told then answers something else, and fails. Now and then both
instructions ask for the same: what a perfect follower of the wrong instruction would
score is the <b>oracle floor</b>, in parentheses. A score well above it would mean that
the model can do without its instruction.</li>
<li><b>Empty</b>: it reads nothing.</li>
<li><b>Concatenation</b>, where shown, is the usual way: no hypernetwork, the T5 reads
instruction and input in one text, the instruction again for every input. It has a
number of steps of its own: compare curves, not just last points.</li>
<li><b>No instruction</b> is a model trained without any: what the strings alone give
away.</li>
</ul>
<p>One seed each, 512 test rows in 64 tasks: differences of a few points mean
nothing.</p>

<h2>$model on held-out instructions</h2>
<p>Test rows at even distances, not chosen.</p>
<div class="wide">$examples</div>

<footer><p>Made by <code>$command</code><br>$machine</p></footer>
</html>
""")


def write(
    folder: str | os.PathLike[str],
    rows: Sequence[Row],
    examples: Sequence[Mapping[str, Any]],
    command: str,
    fast: bool,
) -> pathlib.Path:
    """Writes the picture and the page that holds it; returns the page's path.

    Args:
        folder: receives both.
        rows: see `hyperx.runs.demonstration.report.show`.
        examples: see there.
        command: that made them.
        fast: whether to say that numbers are low.
    """
    folder = pathlib.Path(folder)
    report_lib.draw(rows, folder / PICTURE)
    picture = base64.b64encode((folder / PICTURE).read_bytes()).decode()
    page = TEMPLATE.substitute(
        table=_html_table("scores", report_lib.HEADERS, [row.cells() for row in rows]),
        examples=_html_table(
            "examples",
            report_lib.EXAMPLE_HEADERS,
            map(report_lib.example_cells, examples),
        ),
        model=html.escape(rows[0].title),
        picture=picture,
        command=html.escape(command),
        machine=html.escape(machine()),
        note=f"<p class=note>{html.escape(report_lib.FAST_NOTE)}</p>" if fast else "",
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def machine() -> str:
    """What the numbers were made on."""
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count()
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "flax")]
    device = jax.devices()[0]
    return ", ".join(
        [
            f"{cores} CPU cores ({platform.machine()}, {platform.system()})",
            f"computed on {device.platform} ({device.device_kind})",
            f"Python {platform.python_version()}",
            *versions,
        ]
    )


def _html_table(
    name: str, headers: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """A table; all lines of a cell but the first are in small print."""

    def line(tag: str, cells: Sequence[str]) -> str:
        parts = [html.escape(cell).split("\n", 1) for cell in cells]
        texts = [
            "<br><small>".join(part) + "</small>" * (len(part) - 1) for part in parts
        ]
        return "".join(f"<{tag}>{text}</{tag}>" for text in texts)

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{line('th', headers)}</tr></thead>"
    return f'<table class="{name}">{head}\n<tbody>{body}</tbody></table>'
