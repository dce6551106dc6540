"""What an evaluation found, in words and tables for people."""

import math
from collections.abc import Iterable, Mapping

from hyperx.data import averages
from hyperx.runs.evaluation import tables
from hyperx.runs.evaluation.summary import Summary
from hyperx.runs.evaluation.tables import Section, Table

CONTROLS = {
    "matched": "the model reads the condition that belongs to the input",
    "shuffled": "it reads another one",
    "empty": "it reads none",
}
# Names of missing members that are told.
TOLD = 8


def sections(summary: Summary) -> list[Section]:
    """All that there is to say, the most important first."""
    found = [
        _benchmarks(summary),
        _checkpoints(summary) if len(summary.steps) > 1 else None,
        _tasks(summary),
        *_categories(summary),
        _left_out(summary),
    ]
    return [section for section in found if section is not None and section.content]


def introduction(summary: Summary) -> list[str]:
    """What was evaluated, in two paragraphs."""
    examples = "all examples"
    if summary.num_examples is not None:
        examples = f"at most {summary.num_examples} examples of each"
    steps = ", ".join(map(str, summary.steps))
    what = (
        f"{summary.method}, checkpoint{'s' * (len(summary.steps) > 1)} {steps}, on "
        f"{tables.count(len(summary.tasks), 'task')} ({summary.name}), split "
        f"{summary.split}, {examples}."
    )
    if len(summary.controls) < 2:
        return [what]
    told = "; ".join(f"{name}: {CONTROLS[name]}" for name in summary.controls)
    alike = "A model that scores alike under all of them ignores its condition."
    return [what, f"{told}. {alike}"]


def shown_step(summary: Summary) -> int:
    """The checkpoint whose tasks are shown: the best on average, or the newest."""
    for benchmark in summary.benchmarks():
        step = summary.best_step(benchmark)
        if step is not None:
            return step
    best = summary.best_per_task()
    return best[0].step if len(best) == 1 else summary.steps[-1]


def _benchmarks(summary: Summary) -> Section | None:
    rows, content = [], []
    for benchmark in summary.benchmarks():
        best = summary.best_step(benchmark)
        step = summary.steps[-1] if best is None else best
        by_control = {c: summary.average(benchmark, step, c) for c in summary.controls}
        figures = {c: found.figures or {} for c, found in by_control.items()}
        names = [n for n in tables.names(figures.values()) if "/" not in n] or [
            tables.NONE
        ]
        for name in names:
            cells = [
                tables.cell(figures[control].get(name)) for control in summary.controls
            ]
            rows.append([_title(benchmark), tables.words(name), str(step), *cells])
        content += _missing(summary, benchmark, step)
        title = f"{_title(benchmark)}, {summary.control}"
        content += _spread(figures[summary.control], title)
    if not rows:
        return None
    headers = ["", "figure", "checkpoint", *summary.controls]
    table = Table(headers, tables.once(rows), 3)
    chosen = ["Each at its best checkpoint."] if len(summary.steps) > 1 else []
    return Section("Averages", [*chosen, table, *content])


def _missing(
    summary: Summary, benchmark: averages.Benchmark, step: int
) -> Iterable[str]:
    """Says which members are missing, once for controls that lack the same."""
    controls_by_text: dict[str, list[str]] = {}
    for control in summary.controls:
        found = summary.average(benchmark, step, control)
        if not found.missing:
            continue
        names = ", ".join(found.missing[:TOLD])
        more = len(found.missing) - TOLD
        names += f" and {more} more" if more > 0 else ""
        present = found.members - len(found.missing)
        if found.figures is None:
            text = (
                f"not averaged, {len(found.missing)} of {found.members} members are "
                f"missing: {names}."
            )
            if present:
                text += f" --allow_missing averages the other {present}."
        else:
            text = (
                f"averaged over {present} of {found.members} members only; missing: "
                f"{names}."
            )
        controls_by_text.setdefault(text, []).append(control)
    for text, controls in controls_by_text.items():
        yield f"{_title(benchmark)} ({', '.join(controls)}): {text}"


def _spread(figures: Mapping[str, float], title: str) -> list[Table]:
    """Figures such as `name/max`, a row for each name."""
    parts = [name.partition("/") for name in figures if "/" in name]
    suffixes = list(dict.fromkeys(suffix for _, _, suffix in parts))
    rows = [
        [name, *(tables.cell(figures.get(f"{name}/{suffix}")) for suffix in suffixes)]
        for name in dict.fromkeys(name for name, _, _ in parts)
    ]
    return [Table([title, *map(tables.words, suffixes)], rows)] if rows else []


def _checkpoints(summary: Summary) -> Section:
    """Every checkpoint's averages, and the best checkpoint of each task."""
    columns = {
        _title(b): {s: summary.headline(b, s) for s in summary.steps}
        for b in summary.benchmarks()
        if summary.best_step(b) is not None
    } or {
        f"{best.task} {tables.words(best.metric)}": summary.values(best.task)
        for best in summary.best_per_task()
    }
    rows = [
        [str(step), *(tables.cell(column[step]) for column in columns.values())]
        for step in summary.steps
    ]
    bold = {
        (number, place)
        for place, column in enumerate(columns.values(), start=1)
        for number, step in enumerate(summary.steps)
        if column[step] == max(tables.known(column.values()), default=math.inf)
    }
    table = Table(["checkpoint", *columns], rows, 1, frozenset(bold))
    content: list[str | Table] = [
        f"Under {summary.control}; the best of a column stands out. It was chosen on "
        "this very split, which flatters it.",
        table,
    ]
    if len(summary.tasks) > 1:
        content += _per_task(summary)
    return Section("Checkpoints", content)


def _per_task(summary: Summary) -> list[str | Table]:
    best, single = summary.best_per_task(), shown_step(summary)
    rows, pairs = [], []
    for item in best:
        there = summary.values(item.task)[single]
        pairs.append((item.value, there))
        cells = [str(item.step), tables.cell(item.value), tables.cell(there)]
        rows.append([item.task, tables.words(item.metric), *cells])
    whole = len(best) == len(summary.tasks) or summary.allow_missing
    if whole and all(there is not None for _, there in pairs):
        means = [math.fsum(values) / len(values) for values in zip(*pairs, strict=True)]
        rows.append([f"mean of {len(pairs)}", "", "", *map(tables.cell, means)])
    headers = ["task", "metric", "best at", "value", f"at {single}"]
    return [
        f"The best checkpoint of each task, beside {single}, the single best one.",
        Table(headers, rows, 2),
    ]


def _tasks(summary: Summary) -> Section:
    step, data, rows = shown_step(summary), summary.data(), []
    metrics = {c: summary.metrics(step, c) for c in summary.controls}
    for task in summary.tasks:
        found = [of_task.get(task, {}) for of_task in metrics.values()]
        for name in tables.names(found):
            if "/" not in name:
                cells = tables.cells(found, name)
                counts = _counts(data.get(task, {}))
                rows.append([task, tables.words(name), *cells, *counts])
    headers = ["task", "metric", *summary.controls, "examples", "conditions", "cut"]
    title = f"Tasks at checkpoint {step}" if len(summary.steps) > 1 else "Tasks"
    return Section(title, [Table(headers, tables.once(rows), 2)] if rows else [])


def _counts(data: Mapping) -> list[str]:
    cut = [f"{n:,} {feature}" for feature, n in data.get("truncated", {}).items() if n]
    counts = [data.get("examples"), data.get("conditions")]
    told = [tables.NONE if number is None else f"{number:,}" for number in counts]
    return [*told, ", ".join(cut) or tables.NONE]


def _categories(summary: Summary) -> Iterable[Section]:
    """Of tasks with metrics by category, a table each."""
    step = shown_step(summary)
    for task in summary.tasks:
        found = [summary.metrics(step, c).get(task, {}) for c in summary.controls]
        prefix = f"{summary.main_metric(task)}/category/"
        names = sorted(name for name in tables.names(found) if name.startswith(prefix))
        rows = [
            [name.removeprefix(prefix), *tables.cells(found, name)] for name in names
        ]
        if rows:
            title = f"{tables.words(summary.main_metric(task))} by category"
            yield Section(f"{task}: {title}", [Table(["", *summary.controls], rows)])


def _left_out(summary: Summary) -> Section:
    reasons = {**summary.missing, **summary.lacks()}
    return Section(
        "Left out", [f"{what}: {reason}" for what, reason in reasons.items()]
    )


def _title(benchmark: averages.Benchmark) -> str:
    return benchmark.title or benchmark.name
