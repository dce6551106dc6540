"""The page and the picture of `benchmarks.compile_time`."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import results


def page(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown."""
    rows = result["groups"] * result["rows"]
    yield "# Compile time and memory by number of layers\n"
    yield (
        f"`python -m benchmarks.compile_time` on {results.told(result)}: HINT on T5 "
        "v1.1 small with so many layers in each stack; a training step with Adafactor "
        f"({result['groups']} conditions of {result['condition']} tokens x "
        f"{result['rows']} rows, {result['inputs']} to {result['targets']} tokens), "
        f"and greedy decoding ({rows} rows of one task, the same lengths). Every "
        "program is compiled in a new process with an empty compilation cache, and in "
        "another one with what that left there. *At once* is all that the program "
        "sets aside, *temporary* the part of it that holds neither arguments nor "
        "results; *compiling takes* is the peak of the compiling process.\n"
    )
    yield "![seconds and memory by layers](compile_time.png)\n"
    headers = ["program", "layers", "tracing", "compiling", "compiling, cached"]
    headers += ["at once", "temporary", "compiling takes"]
    yield from results.table(
        headers,
        [
            (
                row["program"],
                row["layers"],
                f"{row['seconds_tracing']:.1f} s",
                f"{row['seconds_compiling']:.1f} s",
                f"{row['cached']['seconds_compiling']:.1f} s",
                _mib(row["bytes_at_once"]),
                _mib(row["bytes_temporary"]),
                _mib(row["bytes_compiling"]),
            )
            for row in sorted(result["programs"], key=lambda row: row["program"])
        ],
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def draw(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Seconds from nothing and from the cache, and memory, by layers."""
    programs = list(dict.fromkeys(row["program"] for row in rows))
    with results.picture(path, 9, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        for name, colour in zip(programs, results.COLOURS, strict=False):
            own = [row for row in rows if row["program"] == name]
            layers = [row["layers"] for row in own]
            cold = [row["seconds_tracing"] + row["seconds_compiling"] for row in own]
            warm = [
                row["cached"]["seconds_tracing"] + row["cached"]["seconds_compiling"]
                for row in own
            ]
            memory = [row["bytes_at_once"] / 2**20 for row in own]
            left.plot(layers, cold, "o-", color=colour, label=name)
            left.plot(layers, warm, "o:", color=colour)
            right.plot(layers, memory, "o-", color=colour, label=name)
        left.set_title("seconds to trace and compile; dotted: cached", loc="left")
        right.set_title("MiB that the program holds at once", loc="left")
        for axes in (left, right):
            axes.set_xticks(layers)
            axes.set(xlabel="layers per stack", ylim=(0, None))
            axes.grid(alpha=0.25)
            axes.legend(frameon=False)
