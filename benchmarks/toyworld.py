"""Every method on toyworld, at tiny size: what each can do, and at what cost.

    python -m benchmarks.toyworld

Trains each method with three seeds on the kind of condition that it is meant for, and
writes `docs/results/toyworld.{md,png,json}`. A run that was finished is not repeated,
one that was interrupted continues; `--only=NAME` runs one method, `--seeds=1` is quick.
"""

import argparse
import os
import pathlib
import platform
import sys

import jax

from benchmarks import toyworld_report
from benchmarks.toyworld_entries import ENTRIES
from benchmarks.toyworld_runs import Journal, backbone, finish
from hyperx.data import startup

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def main() -> None:
    """Runs what is missing and writes the report after every run."""
    args = _arguments()
    startup.prepare_tensorflow()
    args.output.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(args.output / "compiled"))
    journal = Journal(args.output / "results.json")
    chosen = [e for e in ENTRIES if args.only is None or e.name == args.only]
    if not chosen:
        names = ", ".join(entry.name for entry in ENTRIES)
        sys.exit(f"expected --only to be one of {names}; got {args.only}")
    runs = [(entry, seed) for seed in range(args.seeds) for entry in chosen]
    for number, (entry, seed) in enumerate(runs, start=1):
        print(f"[{number}/{len(runs)}] {entry.setting}: {entry.name}, seed {seed}")
        if journal.has(entry, seed):
            continue
        start = backbone(entry, args.output) if entry.frozen_start else None
        scores = finish(entry, seed, args.output, start)
        journal.add(entry, seed, scores)
        print("  " + ", ".join(f"{k} {v:.1f}" for k, v in scores["scores"].items()))
        if args.only is None:
            _report(journal)
    _report(journal)


def _report(journal: Journal) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    about = {
        "command": "python -m benchmarks.toyworld",
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), no accelerator",
        "jax": jax.__version__,
    }
    toyworld_report.write(journal.rows(), about, RESULTS / "toyworld")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=ROOT / "out" / "toyworld",
        help="folder of models and finished runs (default: out/toyworld)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--only", metavar="NAME", help="one method")
    return parser.parse_args()


if __name__ == "__main__":
    main()
