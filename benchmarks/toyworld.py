"""Every method on toyworld, at tiny size: what each can do, and at what cost.

    python -m benchmarks.toyworld

Trains each method with three seeds on the kind of condition that it is meant for, and
writes `docs/results/toyworld.{md,png,json}`. A run that was finished is not repeated,
one that was interrupted continues; `--only=NAME` runs one method, `--seeds=1` is quick.
"""

import argparse
import itertools
import os
import pathlib
import platform
import subprocess
import sys
from concurrent import futures

import jax

from benchmarks import toyworld_report, toyworld_runs
from benchmarks.toyworld_entries import ENTRIES, Entry
from hyperx.data import startup
from hyperx.runs import progress

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def main() -> None:
    """Runs what is missing, several methods at a time, and writes the report."""
    args = _arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    if args.only is not None:
        _run(args.only, args.output, args.seeds)
        return
    _run(None, args.output, args.seeds)  # the backbone that others start from
    with (
        futures.ThreadPoolExecutor(args.jobs) as pool,
        progress.Bar(len(ENTRIES), description="methods") as bar,
    ):
        cores = itertools.cycle(sorted(os.sched_getaffinity(0)))
        waiting = [
            pool.submit(_start, entry, args, next(cores) if args.jobs > 1 else None)
            for entry in ENTRIES
        ]
        for number, done in enumerate(futures.as_completed(waiting), start=1):
            done.result()
            bar.update(number, rows=args.seeds)
    _report(args)


def _start(entry: Entry, args: argparse.Namespace, core: int | None) -> None:
    """Runs one method in a process of its own, on one core if there are several."""
    command = [sys.executable, "-m", "benchmarks.toyworld", f"--only={entry.name}"]
    command += [f"--output={args.output}", f"--seeds={args.seeds}"]
    log = args.output / f"{entry.name}.log"
    with log.open("a", encoding="utf-8") as file:
        result = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
            preexec_fn=core and (lambda: os.sched_setaffinity(0, {core})),
        )
    if result.returncode:
        raise RuntimeError(f"{entry.name} failed, see {log}")


def _run(name: str | None, output: pathlib.Path, seeds: int) -> None:
    """All seeds of a method in this process; the backbone alone for None."""
    startup.prepare_tensorflow()
    jax.config.update("jax_compilation_cache_dir", str(output / "compiled"))
    start = toyworld_runs.backbone(output)
    if name is None:
        return
    chosen = [entry for entry in ENTRIES if entry.name == name]
    if not chosen:
        names = ", ".join(entry.name for entry in ENTRIES)
        raise ValueError(f"expected --only to be one of {names}; got {name}")
    for entry in chosen:
        for seed in range(seeds):
            result = toyworld_runs.finish(entry, seed, output, start)
            print(f"{entry.setting}: {name}, seed {seed}: {result['scores']}")


def _report(args: argparse.Namespace) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    cores = "one core each" if args.jobs > 1 else f"{os.cpu_count()} cores"
    about = {
        "command": "python -m benchmarks.toyworld",
        "machine": f"{platform.machine()}, {args.jobs} runs at a time on {cores}",
        "jax": jax.__version__,
    }
    rows = toyworld_runs.finished(args.output, args.seeds)
    toyworld_report.write(rows, about, RESULTS / "toyworld")
    print(f"{len(rows)} methods: {RESULTS / 'toyworld.md'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=ROOT / "out" / "toyworld",
        help="folder of models and finished runs (default: out/toyworld)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--only", metavar="NAME", help="one method, without a report")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="methods at a time, each on one core (default: as many as cores)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
