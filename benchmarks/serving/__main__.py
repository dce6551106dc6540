"""Requests per second and latency of a server with 1, 10 and 100 tasks.

    python -m benchmarks.serving

Starts `hyperx serve` on HINT with T5 v1.1 small and random weights, and asks for single
inputs over loopback, from the same machine: first by clients that wait for each answer,
which shows the most that it can do; then at a steady rate of half of that with the
number of tasks where it is least. Numbers of tasks take turns.
Writes `docs/results/serving.{md,json,png}`.
"""

import contextlib
import pathlib
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import random_models, results
from benchmarks.serving import loads
from benchmarks.soak.server import Process

SIZES = dict(condition=64, inputs=64, targets=16, clients=32, seconds=8)
QUICK = dict(condition=16, inputs=8, targets=8, clients=4, seconds=1)
TASKS, QUICK_TASKS = (1, 10, 100), (1, 4)
PERCENTILES = (50, 95, 99)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes the report."""
    args = results.arguments(__doc__, argv, rounds=4)
    sizes = QUICK if args.quick else SIZES
    result = results.machine() | sizes | {"rounds": args.rounds}
    tasks = QUICK_TASKS if args.quick else TASKS
    with _served(sizes, quick=args.quick) as url:
        result |= _measured(url, sizes, tasks, args.rounds)
    path = args.output / "serving"
    results.write(path, result, _page(result))
    _draw(result["tasks"], path)


@contextlib.contextmanager
def _served(sizes: Mapping[str, int], *, quick: bool) -> Iterator[str]:
    """The address of a server in a process of its own."""
    lengths = {name: sizes[name] for name in ("condition", "inputs", "targets")}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = random_models.hint(random_models.backbone(quick=quick))
        random_models.save(config, folder / "model", lengths)
        flags = [
            "--max_batch=16",
            "--beams=",
            f"--max_new_tokens={sizes['targets']}",
            f"--input_lengths={sizes['inputs']}",
            f"--condition_lengths={sizes['condition']}",
        ]
        with Process(folder / "model", folder / "states", flags) as server:
            yield server.url
            if code := server.terminate():
                raise RuntimeError(f"expected a server that ends with 0, got {code}")


def _measured(
    url: str, sizes: Mapping[str, int], tasks: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Turns of both kinds of load for every number of tasks."""
    ids, registering = loads.register(url, max(tasks), sizes["condition"] - 1)
    seconds = sizes["seconds"]

    def load(number: int, seed: int) -> loads.Load:
        letters, length = sizes["inputs"] - 1, sizes["targets"]
        return loads.Load(url, ids[:number], letters, length, seed)

    most: dict[int, list[float]] = {number: [] for number in tasks}
    steady: dict[int, list[loads.Answers]] = {number: [] for number in tasks}
    refused = 0
    for turn in range(rounds):
        for number in tasks:
            got = load(number, turn).waiting(sizes["clients"], seconds)
            most[number].append(len(got.seconds) / got.elapsed)
            refused += got.refused
    rate = min(map(statistics.median, most.values())) / 2
    for turn in range(rounds):
        for number in tasks:
            steady[number].append(load(number, rounds + turn).steady(rate, seconds))
    refused += sum(one.refused for turns in steady.values() for one in turns)
    return {
        "rate": rate,
        "refused": refused,
        "seconds_to_register": statistics.median(registering),
        "tasks": [
            {
                "tasks": number,
                "most_per_second": most[number],
                "steady": len(latencies := _joined(steady[number])),
                "latency": latencies,
            }
            for number in tasks
        ],
    }


def _joined(turns: Sequence[loads.Answers]) -> list[float]:
    """Seconds of all requests, in order."""
    return sorted(round(one, 5) for turn in turns for one in turn.seconds)


def _page(result: Mapping[str, Any]) -> Iterator[str]:
    yield "# A server under load\n"
    yield (
        f"`python -m benchmarks.serving` on {results.told(result)}: `hyperx serve "
        "--max_batch=16` and its clients share the machine. HINT on T5 v1.1 small, "
        f"conditions of {result['condition']} tokens, requests of one input of "
        f"{result['inputs']} tokens for {result['targets']} new ones, greedy. *Most*: "
        f"{result['clients']} clients that wait for each answer, medians of "
        f"{result['rounds']} turns of {result['seconds']} s. *Latency*: at "
        f"{result['rate']:.1f} requests per second at random times, the same turns, "
        "from when a request is due.\n"
    )
    yield "![latency and requests per second](serving.png)\n"
    headers = ["tasks", "most, per second", "requests at the steady rate"]
    headers += [f"latency, p{part}" for part in PERCENTILES]
    yield from results.table(
        headers,
        [
            (
                one["tasks"],
                results.Spread.of(one["most_per_second"]),
                one["steady"],
                *(f"{_percentile(one, part):.0f} ms" for part in PERCENTILES),
            )
            for one in result["tasks"]
        ],
    )
    yield (
        "\nTo register a condition takes "
        f"{1000 * result['seconds_to_register']:.0f} ms. Requests that were refused: "
        f"{result['refused']}."
    )


def _percentile(one: Mapping[str, Any], part: int) -> float:
    """Of latency, in milliseconds."""
    return 1000 * float(np.percentile(one["latency"], part))


def _draw(tasks: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """How many answers come within which time, and the most requests per second."""
    with results.picture(path, 8, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        for place, (one, colour) in enumerate(
            zip(tasks, results.COLOURS, strict=False)
        ):
            latency = [1000 * seconds for seconds in one["latency"]]
            label = f"{one['tasks']} task" + "s" * (one["tasks"] > 1)
            left.ecdf(latency, color=colour, label=label)
            most = one["most_per_second"]
            right.bar(place, statistics.median(most), color=colour, alpha=0.6)
            right.plot([place] * len(most), most, ".", color=colour)
        left.set(xlim=(0, None), xlabel="latency at the steady rate, ms")
        left.set_ylabel("part of the requests")
        left.grid(alpha=0.25)
        left.legend(frameon=False)
        right.set_xticks(range(len(tasks)), [one["tasks"] for one in tasks])
        right.set(xlabel="tasks", ylabel="most requests per second")


if __name__ == "__main__":
    main()
