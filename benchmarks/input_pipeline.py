"""Batches per second of grouped batches and of plain seqio, on the same tasks.

    python -m benchmarks.input_pipeline --super_ni=natural-instructions

hyperx reads a task once and then arranges its tokens in batches of G conditions x R
rows; seqio, with a feature converter for the same rows, runs the task over and over,
either from its sources or from its cache. Turns of all are interleaved, so that they
share whatever else the machine does, and ratios are taken within a round.
Writes `docs/results/input_pipeline.{md,json}`.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hyperx.data import startup

startup.prepare_tensorflow()  # ahead of what imports it

import seqio  # noqa: E402

from hyperx.data import batches, cache, converters, examples  # noqa: E402
from hyperx.tasks import super_ni, toyworld  # noqa: E402, F401

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "input_pipeline"
HYPERX, SEQIO, CACHED = "hyperx", "seqio", "seqio, cached"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A task and the batches that its run trains on (`gin/runs`)."""

    task: str
    groups: int
    rows: int
    lengths: Mapping[str, int]

    @property
    def batch_size(self) -> int:
        return self.groups * self.rows


TOYWORLD = Setting(
    task="toyworld",
    groups=32,
    rows=4,
    lengths={"condition": 8, "inputs": 6, "targets": 8},
)
SUPER_NI = Setting(
    task="super_ni_def",
    groups=8,
    rows=4,
    lengths={"condition": 512, "inputs": 512, "targets": 64},
)


@dataclasses.dataclass
class Pipeline:
    """One that runs, and what was measured of it by round."""

    name: str
    batches: Iterator[Any]
    start: float  # seconds to the first batch
    rates: list[float] = dataclasses.field(default_factory=list)  # batches per second
    cpu: list[float] = dataclasses.field(default_factory=list)  # seconds per batch

    def turn(self, seconds: float) -> None:
        """Takes batches for some time."""
        count, cpu, begin = 0, time.process_time(), time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < seconds:
            next(self.batches)
            count += 1
        self.rates.append(count / elapsed)
        self.cpu.append((time.process_time() - cpu) / max(count, 1))


def main() -> None:
    """Measures and writes the report."""
    args = _arguments()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for setting in _settings(args):
            pipelines = [_begin(name, setting, folder) for name in _names(setting)]
            for _ in range(args.rounds):
                for pipeline in pipelines:
                    pipeline.turn(args.seconds)
            results.append(_result(setting, pipelines, args.needed))
    _write(results, args)


def _settings(args: argparse.Namespace) -> Iterator[Setting]:
    yield TOYWORLD
    if args.super_ni is not None:
        super_ni.register(args.super_ni, vocabulary=args.vocabulary)
        yield SUPER_NI


def _names(setting: Setting) -> tuple[str, ...]:
    can_cache = seqio.TaskRegistry.get(setting.task).supports_caching
    return (HYPERX, SEQIO, CACHED) if can_cache else (HYPERX, SEQIO)


def _begin(name: str, setting: Setting, folder: str) -> Pipeline:
    """A pipeline that has made its first batch; writing a cache does not count."""
    if name == CACHED:
        for _ in cache.write_all(setting.task, folder, ["train"]):
            pass
        cache.use(folder)
    begin = time.perf_counter()
    made = _grouped(setting) if name == HYPERX else _seqio(setting, name == CACHED)
    next(made)
    return Pipeline(name, made, time.perf_counter() - begin)


def _grouped(setting: Setting) -> Iterator[Any]:
    loaded = examples.load(setting.task, "train", feature_lengths=setting.lengths)
    grouped = batches.GroupedBatches(
        loaded,
        groups=setting.groups,
        rows=setting.rows,
        feature_lengths=setting.lengths,
        reads="condition",
        seed=0,
    )
    return batches.prefetch(grouped, 0, 10**9)


def _seqio(setting: Setting, use_cached: bool) -> Iterator[Any]:
    task = seqio.TaskRegistry.get(setting.task)
    converter = converters.RowConverter(
        setting.lengths, "condition", tuple(task.output_features)
    )
    # The features that are not read have a length, too, or seqio refuses.
    lengths = dict.fromkeys(task.output_features, 1) | setting.lengths
    dataset = seqio.get_dataset(
        setting.task,
        lengths,
        converter,
        "train",
        shuffle=True,
        num_epochs=None,
        use_cached=use_cached,
        seed=0,
    )
    batched = dataset.batch(setting.batch_size, drop_remainder=True)
    return batched.prefetch(2).as_numpy_iterator()


def _result(
    setting: Setting, pipelines: Sequence[Pipeline], needed: float
) -> dict[str, Any]:
    ours = pipelines[0]
    rows = {}
    for pipeline in pipelines:
        ratios = [a / b for a, b in zip(ours.rates, pipeline.rates, strict=True)]
        rate = statistics.median(pipeline.rates)
        rows[pipeline.name] = {
            "seconds_to_first_batch": pipeline.start,
            "batches_per_second": rate,
            "rows_per_second": rate * setting.batch_size,
            "cpu_ms_per_batch": 1000 * statistics.median(pipeline.cpu),
            "hyperx_is_faster_by": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
            "of_what_training_takes": rate * setting.batch_size / (128 * needed),
            "rounds": pipeline.rates,
        }
    return {**dataclasses.asdict(setting), "pipelines": rows}


def _write(results: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    about = {"machine": machine, "rounds": args.rounds, "seconds": args.seconds}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "needed": args.needed, "settings": results}, indent=1)
    RESULTS.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    lines = [
        "# Input pipeline\n",
        "`python -m benchmarks.input_pipeline`: batches of the same rows from hyperx's "
        "grouped batches and from `seqio.get_dataset` with a feature converter, "
        f"{machine}. Medians of {args.rounds} rounds of {args.seconds:g} s for each, "
        "interleaved; the ratio is taken within a round, its range is in brackets. "
        f"Training T5 tiny on toyworld takes {args.needed:g} x 128 rows per second "
        "there; on longer rows it takes fewer.\n",
    ]
    for result in results:
        lines += [*_table(result), ""]
    RESULTS.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines[2:]))


def _table(result: Mapping[str, Any]) -> Iterator[str]:
    lengths = ", ".join(f"{name} {n}" for name, n in result["lengths"].items())
    yield f"## {result['task']}\n"
    yield f"{result['groups']} conditions x {result['rows']} rows; {lengths}.\n"
    yield (
        "| pipeline | first batch | batches/s | rows/s | CPU per batch | hyperx is "
        "faster by | times what training takes |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, row in result["pipelines"].items():
        low, high = row["range"]
        faster = f"{row['hyperx_is_faster_by']:.1f} ({low:.1f} to {high:.1f})"
        yield (
            f"| {name} | {row['seconds_to_first_batch']:.1f} s "
            f"| {row['batches_per_second']:,.0f} | {row['rows_per_second']:,.0f} "
            f"| {row['cpu_ms_per_batch']:.2f} ms | {'' if name == HYPERX else faster} "
            f"| {row['of_what_training_takes']:.1f} x |"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--super_ni",
        metavar="DIR",
        default=os.environ.get("SUPER_NI_DIR"),
        help="a checkout of natural-instructions (default: SUPER_NI_DIR)",
    )
    parser.add_argument(
        "--vocabulary", default="bytes", help="of Super-NI (default: bytes)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="(default: 15)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of a turn (default: 1)"
    )
    parser.add_argument(
        "--needed",
        type=float,
        default=17.0,
        metavar="N",
        help="steps per second of T5 tiny at 128 rows, as training it shows (default: "
        "17, two cores)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
