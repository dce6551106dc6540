"""The page and the picture of `benchmarks.kept_state`."""

import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from benchmarks import results
from benchmarks.kept_state.ways import CONCATENATION, KEPT, REFERENCE, WAYS

_COLOUR = dict(zip(WAYS, results.COLOURS, strict=False))


def page(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown."""
    cases, examples = result["cases"], result["examples"]
    yield "# A kept state against reading the condition again\n"
    yield (
        f"`python -m benchmarks.kept_state` on {results.told(result)}: a task with "
        f"{examples} examples, condition {result['condition']}, inputs "
        f"{result['inputs']}, outputs {result['targets']} tokens. Medians of "
        f"{result['rounds']} interleaved rounds; ratios are taken within a round, "
        "their range is in brackets. One batch of R inputs was run and multiplied; "
        f"where the number of inputs is {examples}, all of them were, but in reference "
        "mode.\n"
    )
    yield "![seconds by examples, and ratios](kept_state.png)\n"
    for one in result["goals"]:
        reached = "reached" if one["reached"] else "**missed**"
        yield f"- {one['goal']}: {reached}, {one['found']}"
    rows = sum(case["rows"] for case in cases)
    equal = sum(case["equal_rows"] for case in cases)
    yield f"- outputs that equal those of reference mode: {equal} of {rows}\n"
    yield from _seconds(cases)
    for name in (CONCATENATION, REFERENCE):
        yield f"\nAgainst {name}, for {examples} examples:\n"
        yield from _against(cases, name)


def _seconds(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    headers = ["", "inputs", "once per task", *(f"{way}, per example" for way in WAYS)]
    rows = []
    for case in cases:
        once = statistics.median(case["seconds"]["once"])
        each = [f"{_each(case, name):.4f} s" for name in WAYS]
        rows.append((case["case"], case["inputs"][KEPT], f"{once:.3f} s", *each))
    return results.table(headers, rows)


def _each(case: Mapping[str, Any], name: str) -> float:
    """Median seconds of an example."""
    return statistics.median(case["seconds"][name]) / case["inputs"][name]


def _against(cases: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    headers = ["", "kept state is faster by", "has fewer operations by", "of that"]
    headers += ["pays from examples", "by operations"]
    rows = [
        (
            case["case"],
            one["faster_by"],
            f"{one['fewer_operations_by']:.3g}",
            f"{one['part']:.0%}",
            one["break_even"] or "never",
            one["analytic_break_even"] or "never",
        )
        for case in cases
        for one in [case["against"][name]]
    ]
    return results.table(headers, rows)


def draw(cases: Sequence[Mapping[str, Any]], examples: int, path: pathlib.Path) -> None:
    """Seconds by number of examples, and ratios in all cases.

    Args:
        cases: of `benchmarks.kept_state.measured`; the one with most inputs is drawn by
            examples.
        examples: of the task.
        path: of the picture, without suffix.
    """
    with results.picture(path, 9, 3.8) as figure:
        left, right = figure.subplots(1, 2)
        _by_examples(max(cases, key=lambda case: case["inputs"][KEPT]), examples, left)
        _ratios(cases, examples, right)


def _by_examples(case: Mapping[str, Any], examples: int, axes: Axes) -> None:
    counts = range(1, examples + 1)
    once = statistics.median(case["seconds"]["once"])
    each = {name: _each(case, name) for name in WAYS}
    for name, one in each.items():
        start = once if name == KEPT else 0
        seconds = [start + count * one for count in counts]
        axes.plot(counts, seconds, color=_COLOUR[name], label=name)
    for name, one in each.items():
        if one > each[KEPT]:
            meeting = once / (one - each[KEPT])
            axes.plot(
                max(meeting, 1), max(meeting, 1) * one, "o", color=_COLOUR[name],
                fillstyle="none", markersize=9,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="examples of a task", ylabel="seconds")
    axes.set_title(case["case"] + "; rings: from where a kept state pays", loc="left")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _ratios(cases: Sequence[Mapping[str, Any]], examples: int, axes: Axes) -> None:
    others = [name for name in WAYS if name != KEPT]
    for number, name in enumerate(others):
        places = [place + 0.4 * number - 0.2 for place in range(len(cases))]
        found = [case["against"][name] for case in cases]
        heights = [one["faster_by"].median for one in found]
        axes.bar(places, heights, 0.36, color=_COLOUR[name], label=f"than {name}")
        analytic = [one["fewer_operations_by"] for one in found]
        axes.scatter(
            places, analytic, marker="_", s=110, color="black", zorder=2,
            label="by operations" if not number else None,
        )  # fmt: skip
    names = [case["case"].replace(", ", "\n") for case in cases]
    axes.set_xticks(range(len(cases)), names)
    axes.set_yscale("log", base=2)
    axes.set_ylim(1, 4 * axes.get_ylim()[1])  # Room for the legend.
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_title(f"kept state faster by, {examples} examples", loc="left")
    axes.legend(frameon=False, loc="upper left")
