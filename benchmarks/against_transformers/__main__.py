"""Plain T5 v1.1 small against Hugging Face transformers with torch, on CPUs.

    python -m benchmarks.against_transformers

Both have the same random weights and every core. They take turns in one process, and
ratios are taken within a round. Before that, results of both are compared.
Writes `docs/results/against_transformers.{md,json,png}`.
"""

import os
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import transformers

from benchmarks import results
from benchmarks.against_transformers import decoding, training
from benchmarks.against_transformers.pair import OURS, THEIRS, Pair, Part

PARTS: tuple[Callable[[Pair], Part], ...] = (
    decoding.greedy,
    decoding.beam,
    training.part,
)
WARM_UP = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes the report."""
    args = results.arguments(__doc__, argv, rounds=9)
    about = results.machine() | {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rounds": args.rounds,
    }
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(pathlib.Path(folder), quick=args.quick)
        parts = [measured(part(pair), args.rounds) for part in PARTS]
    path = args.output / "against_transformers"
    about["load_after"] = round(os.getloadavg()[0], 2)
    result = about | {"parts": parts}
    results.write(path, result, _page(result))
    _draw(parts, path)


def measured(part: Part, rounds: int) -> dict[str, Any]:
    """Seconds of both libraries, and what follows from them.

    Raises:
        RuntimeError: if they do not compute the same.
    """
    for _ in range(WARM_UP):
        ours, theirs = (part.sides[name]() for name in (OURS, THEIRS))
        if not part.same(ours, theirs):
            raise RuntimeError(
                f"expected the same {part.name} of both, got {ours} and {theirs}"
            )
    seconds = results.interleaved(part.sides, rounds)
    processor = {name: side.processor[WARM_UP:] for name, side in part.sides.items()}
    return {
        "part": part.name,
        "sizes": part.sizes,
        "seconds": seconds,
        "processor_seconds": processor,
        "speed": results.ratio(seconds[THEIRS], seconds[OURS]),
        "speed_by_processor_seconds": results.ratio(processor[THEIRS], processor[OURS]),
        "goal": part.goal,
    }


def _page(result: Mapping[str, Any]) -> Iterator[str]:
    yield "# Against transformers\n"
    yield (
        f"`python -m benchmarks.against_transformers` on {results.told(result)}, "
        f"{result['load_after']:g} at the end; torch {result['torch']}, transformers "
        f"{result['transformers']}. Plain T5 v1.1 small with the same random weights "
        f"in float32, both with all cores. Medians of {result['rounds']} interleaved "
        "rounds; ratios are taken within a round, their range is in brackets. "
        "Processor seconds are those of all cores together: what other processes take "
        "is not among them, but threads of torch that wait for each other are.\n"
    )
    yield "![speed relative to transformers](against_transformers.png)\n"
    headers = ["", OURS, THEIRS, "speed relative to transformers", "at least"]
    headers += [f"processor seconds, {OURS}", THEIRS, "relative speed by them"]
    yield from results.table(headers, map(_row, result["parts"]))


def _row(part: Mapping[str, Any]) -> Sequence[Any]:
    def medians(name: str) -> list[str]:
        return [
            f"{statistics.median(part[name][side]):.2f} s" for side in (OURS, THEIRS)
        ]

    return (
        f"{part['part']}: {part['sizes']}",
        *medians("seconds"),
        part["speed"],
        part["goal"],
        *medians("processor_seconds"),
        part["speed_by_processor_seconds"],
    )


def _draw(parts: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Ratios of all rounds, their medians, and what they have to reach."""
    with results.picture(path, 7, 1.2 + 0.6 * len(parts)) as figure:
        axes = figure.subplots()
        for place, part in enumerate(parts):
            pairs = zip(part["seconds"][THEIRS], part["seconds"][OURS], strict=True)
            ratios = [theirs / ours for theirs, ours in pairs]
            median = statistics.median(ratios)
            axes.barh(place, median, 0.6, color=results.COLOURS[0], zorder=1)
            axes.scatter(ratios, [place] * len(ratios), s=9, color="black", zorder=3)
            axes.vlines(
                part["goal"], place - 0.4, place + 0.4, results.COLOURS[1], zorder=2
            )
        axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(parts)), [part["part"] for part in parts])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("speed relative to transformers; orange: what it has to be")


if __name__ == "__main__":
    main()
