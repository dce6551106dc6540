"""Every method on toyworld, at tiny size: what each can do, and at what cost.

    python -m benchmarks.toyworld

Trains each method with three seeds on the kind of condition that it is meant for, and
writes `docs/results/toyworld.{md,png,json}`. A run that was finished is not repeated,
one that was interrupted continues; `--only=NAME` runs one method, `--seeds=1` is quick.
"""

import argparse
import functools
import os
import pathlib
import platform
import queue
import subprocess
import sys
from concurrent import futures

import jax

from benchmarks.toyworld import report, runs
from benchmarks.toyworld.entries import BACKBONES, ENTRIES, Entry
from hyperx.data import startup
from hyperx.runs import progress

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def main() -> None:
    """Runs what is missing, several methods at a time, and writes the report."""
    args = _arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    if args.only is not None:
        _run(args.only, args.output, args.seeds)
        return
    left = [entry.name for entry in ENTRIES if not _is_finished(entry, args)]
    for name in BACKBONES if left else ():  # before several runs would train the same
        _start(name, args)
    cores = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[: args.jobs]:
        cores.put(core)

    def on_a_core(name: str) -> None:
        core = cores.get()
        try:
            _start(name, args, {core} if args.jobs > 1 else None)
        finally:
            cores.put(core)

    with (
        futures.ThreadPoolExecutor(args.jobs) as pool,
        progress.Bar(len(left), description="methods") as bar,
    ):
        waiting = [pool.submit(on_a_core, name) for name in left]
        for number, done in enumerate(futures.as_completed(waiting), start=1):
            done.result()
            bar.update(number, rows=args.seeds)
    _report(args)


def _is_finished(entry: Entry, args: argparse.Namespace) -> bool:
    read = functools.partial(runs.read, entry, output=args.output)
    return all(read(seed) is not None for seed in range(args.seeds))


def _start(name: str, args: argparse.Namespace, cores: set[int] | None = None) -> None:
    """Runs one method in a process of its own, on `cores` if given."""
    command = [sys.executable, "-m", "benchmarks.toyworld", f"--only={name}"]
    command += [f"--output={args.output}", f"--seeds={args.seeds}"]
    log = args.output / f"{name.replace(' ', '_')}.log"
    with log.open("a", encoding="utf-8") as file:
        result = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
            preexec_fn=cores and (lambda: os.sched_setaffinity(0, cores)),
        )
    if result.returncode:
        raise RuntimeError(f"{name} failed, see {log}")


def _run(name: str, output: pathlib.Path, seeds: int) -> None:
    """All seeds of a method, or one of a backbone, in this process."""
    startup.prepare_tensorflow()
    jax.config.update("jax_compilation_cache_dir", str(output / "compiled"))
    if name in BACKBONES:
        runs.backbone(name, output)
        return
    chosen = [entry for entry in ENTRIES if entry.name == name]
    if not chosen:
        names = ", ".join(entry.name for entry in ENTRIES)
        raise ValueError(f"expected --only to be one of {names}; got {name}")
    for seed in range(seeds):
        result = runs.finish(chosen[0], seed, output)
        print(f"{chosen[0].setting}: {name}, seed {seed}: {result['scores']}")


def _report(args: argparse.Namespace) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    cores = "one core each" if args.jobs > 1 else f"{os.cpu_count()} cores"
    about = {
        "command": "python -m benchmarks.toyworld",
        "machine": f"{platform.machine()}, {args.jobs} runs at a time on {cores}",
        "jax": jax.__version__,
    }
    rows = runs.finished(args.output, args.seeds)
    report.write(rows, about, RESULTS / "toyworld")
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
