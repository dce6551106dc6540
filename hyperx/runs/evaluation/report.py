"""What an evaluation found: its files, and what is printed."""

import json
import sys
from collections.abc import Iterable

import rich.box
from etils import epath
from rich.console import Console
from rich.table import Table as RichTable

from hyperx.runs import report
from hyperx.runs.evaluation import page as page_lib
from hyperx.runs.evaluation import sections as sections_lib
from hyperx.runs.evaluation.findings import write_text
from hyperx.runs.evaluation.summary import Results, Summary
from hyperx.runs.evaluation.tables import Table

# Rows of a table that is printed; longer ones are in the files alone.
SHOWN = 30


def write(summary: Summary, folder: epath.Path) -> dict[int, Results]:
    """Writes metrics and summary, prints them, and returns the metrics by checkpoint.

    Args:
        summary: what was found.
        folder: receives the files.
    """
    found = f"{summary.name}-{summary.split}"
    metrics = {step: summary.results(step) for step in summary.steps}
    for step, results in metrics.items():
        of_step = {"task": summary.name, "split": summary.split, "step": step}
        of_step |= {"data": summary.data(), "metrics": results}
        write_text(folder / f"metrics-{found}-{step}.json", _json(of_step))
        if len(summary.tasks) == 1:
            report.print_metrics(of_step)
    name, picture = f"summary-{found}", None
    if len(summary.steps) > 1:
        picture = page_lib.picture(summary)
        (folder / f"{name}.png").write_bytes(picture)
    shown = f"{name}.png" if picture else None
    write_text(folder / f"{name}.md", markdown(summary, shown))
    write_text(folder / f"{name}.html", page_lib.page(summary, picture))
    write_text(folder / f"{name}.json", _json(summary.to_json()))
    if len(metrics) > 1 or len(summary.tasks) > 1:
        show(summary)
    print(f"predictions, metrics and summary: {folder / name}.html")
    return metrics


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def markdown(summary: Summary, picture: str | None = None) -> str:
    """The report as Markdown.

    Args:
        summary: what was found.
        picture: path of one to show, relative to the file.
    """
    lines = [f"# Evaluation of {summary.model}"]
    lines += sections_lib.introduction(summary)
    if picture is not None:
        lines.append(f"![main metric by checkpoint]({picture})")
    for section in sections_lib.sections(summary):
        lines.append(f"## {section.title}")
        for item in section.content:
            lines.append(_markdown_table(item) if isinstance(item, Table) else item)
    return "\n\n".join(lines) + "\n"


def _markdown_table(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    marks = [":--" if i < table.texts else "--:" for i in range(len(table.headers))]
    rows = [
        [f"**{c}**" if (i, j) in table.bold else c for j, c in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    return "\n".join(map(line, [table.headers, marks, *rows]))


def show(summary: Summary) -> None:
    """Prints the report but for long tables."""
    # A file or a pipe has no width: leave room for all columns there.
    width = None if sys.stdout.isatty() else 140
    console = Console(highlight=False, markup=False, width=width)
    for section in sections_lib.sections(summary):
        console.print(f"\n{section.title}")
        for item in section.content:
            if not isinstance(item, Table):
                console.print(item)
            elif len(item.rows) > SHOWN:
                console.print(f"({len(item.rows)} rows, see the summary)")
            else:
                console.print(_rich_table(item))


def _rich_table(table: Table) -> RichTable:
    made = RichTable(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(table.headers):
        justify = "left" if number < table.texts else "right"
        made.add_column(header, justify=justify, no_wrap=not number)
    for row in table.rows:
        made.add_row(*row)
    return made
