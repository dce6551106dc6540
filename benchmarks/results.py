"""What benchmarks share: their arguments, turns on the clock, tables and pictures."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = pathlib.Path(__file__).parents[1]
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
COLOURS = ("#2b6cb0", "#dd6b20", "#718096", "#2f855a", "#805ad5")


def arguments(
    documentation: str, argv: Sequence[str] | None, **numbers: int
) -> argparse.Namespace:
    """Reads the command line of a benchmark.

    Args:
        documentation: of its module.
        argv: what follows the command; that of the process if None.
        **numbers: further flags and their defaults.

    Returns:
        ``quick``, ``output``, and the further ones.
    """
    parser = argparse.ArgumentParser(description=documentation.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, which say nothing"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="DIR",
        help="default: docs/results; with --quick, out/benchmarks",
    )
    for name, default in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, help="(default: %(default)s)"
        )
    args = parser.parse_args(argv)
    if args.output is None:
        args.output = ROOT / ("out/benchmarks" if args.quick else "docs/results")
    return args


def machine() -> dict[str, Any]:
    """Where figures come from; ask before there is load of one's own."""
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "jax": jax.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def told(about: Mapping[str, Any]) -> str:
    """`machine` in words."""
    return (
        f"{about['machine']}, jax {about['jax']}, load average {about['load']:g} "
        "before the start"
    )


def interleaved(
    ways: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of every way in every round.

    Ways take turns, so that they share whatever else the machine does; every other
    round goes backwards.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            jax.block_until_ready(ways[name]())
            seconds[name].append(time.perf_counter() - start)
    return seconds


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median, and the range that it is of."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times `slow` takes as long as `fast`, within rounds."""
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are numbers."""
    lines = [headers, ("---", *("--:",) * (len(headers) - 1)), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def write(path: pathlib.Path, result: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Writes and prints a result.

    Args:
        path: of the files ``.json`` and ``.md``, without suffix.
        result: what JSON can hold, and dataclasses.
        lines: of the page.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, default=dataclasses.asdict)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    page = "\n".join(lines) + "\n"
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


@contextlib.contextmanager
def picture(path: pathlib.Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw in, of so many inches, which is then saved as ``path.png``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path.with_suffix(".png"))
