"""A server under steady load and bad manners: nothing wrong, nothing lost, no leak.

    python -m benchmarks.soak --minutes=10

Starts `hyperx serve` on a small model and, from several clients at once, generates,
scores and streams for 1, 10 and 100 tasks, leaves streams half read, and sends
malformed, oversize and impossible requests. Half way the server is ended by SIGTERM and
started again on the states that it left. Every answer is compared with one that the
predictor gave beforehand. Writes `docs/results/soak.{json,md}`; exits with 1 if an
answer was wrong, an accepted request went without, or memory grew.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.soak.clients import Clients, Expected
from benchmarks.soak.server import Process

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"
# Growth of resident memory, from the second quarter of a server's life to the last,
# that counts as none.
FLAT = 0.03


def main() -> int:
    """Runs the soak and writes what was seen."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        model_dir = args.model_dir or _trained(pathlib.Path(folder) / "trained")
        expected = Expected(model_dir)
        spill, lives = pathlib.Path(folder) / "states", []
        clients = Clients(expected, args.clients)
        for _ in range(2):
            with Process(model_dir, spill, args.flags) as server:
                clients.start(server.url)
                _watch(server, clients, args.minutes * 60 / 2)
                # Under load: what was accepted has to be answered.
                clients.ending.set()
                code = server.terminate()
                clients.stop()
                lives.append({"exit_code": code, **server.memory(), **server.counts})
    result = _result(args, clients, lives)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    (args.output / "soak.md").write_text(_report(result))
    print(_report(result))
    return 0 if result["passed"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Soaks `hyperx serve`.")
    parser.add_argument("--minutes", type=float, default=10, metavar="N")
    parser.add_argument("--clients", type=int, default=8, metavar="N")
    parser.add_argument("--model_dir", metavar="DIR", help="default: trains a tiny one")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS, metavar="DIR")
    parser.add_argument("flags", nargs="*", help="of `hyperx serve`, after --")
    return parser.parse_args()


def _trained(folder: pathlib.Path) -> pathlib.Path:
    """A HINT of a few layers after one step on toyworld."""
    command = [sys.executable, "-m", "hyperx", "train", "--gin_file=runs/toyworld.gin"]
    command += ["--gin_file=methods/hint.gin", f"--gin.MODEL_DIR='{folder}'"]
    command += ["--gin.TRAIN_STEPS=1", "--gin.EVAL_PERIOD=None"]
    subprocess.run(command, check=True)
    return folder


def _watch(server: Process, clients: Clients, seconds: float) -> None:
    """Samples the server's memory once a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        server.sample()
        clients.check_running()
        time.sleep(1)


def _result(args: argparse.Namespace, clients: Clients, lives: list[dict]) -> dict:
    counts, seconds = clients.counts, np.array(clients.seconds)
    problems = [
        f"{name}: {counts[name]}" for name in ("wrong", "unanswered") if counts[name]
    ]
    problems += clients.problems
    for number, life in enumerate(lives, start=1):
        if life["exit_code"] != 0:
            problems.append(f"server {number} ended with {life['exit_code']}")
        if life["growth"] > FLAT:
            problems.append(f"memory of server {number} grew by {life['growth']:.1%}")
    return {
        "minutes": args.minutes,
        "clients": args.clients,
        "passed": not problems,
        "problems": problems[:20],
        "requests": dict(sorted(counts.items())),
        "per_second": round(counts["answered"] / (args.minutes * 60), 1),
        "seconds": {
            f"p{part}": round(float(np.percentile(seconds, part)), 4)
            for part in (50, 95, 99)
        },
        "servers": lives,
    }


def _report(result: dict) -> str:
    lines = [
        "# Soak",
        "",
        f"`python -m benchmarks.soak --minutes={result['minutes']:g}`: "
        f"{result['clients']} clients, one restart under load.",
        "",
        f"**{'Passed' if result['passed'] else 'Failed'}.** "
        + ("; ".join(result["problems"]) or "Nothing wrong, nothing lost, no leak."),
        "",
        "| requests | number |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in result["requests"].items()),
        "",
        f"{result['per_second']} answers per second; "
        + ", ".join(f"{name} {value} s" for name, value in result["seconds"].items()),
        "",
        "| server | exit code | memory, MiB | growth | states generated | from disk |",
        "|---|---|---|---|---|---|",
        *(
            f"| {number} | {life['exit_code']} | {life['mebibytes']} | "
            f"{life['growth']:.2%} | {life['generated']:.0f} | {life['loaded']:.0f} |"
            for number, life in enumerate(result["servers"], start=1)
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
