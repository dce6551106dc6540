"""Batches that mix tasks of a bank of 100, and what the bank itself takes.

    python -m benchmarks.mixed_tasks

HINT on T5 v1.1 small with random weights. Sixteen requests are of 1, 4 or 16 tasks, and
are served in one batch, or task by task. The ways take turns, and other tasks are drawn
at every turn. Writes `docs/results/mixed_tasks.{md,json,png}`.
"""

import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import random_models, results
from benchmarks.random_models import random_tokens
from hyperx.inference.bank import Bank
from hyperx.inference.predictor import Predictor

SIZES = dict(tasks=100, rows=16, condition=128, inputs=64, targets=16)
QUICK = dict(tasks=6, rows=4, condition=16, inputs=8, targets=8)
ROOM = 1 << 34  # bytes: nothing is evicted


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes the report."""
    args = results.arguments(__doc__, argv, rounds=9)
    about = results.machine() | {"rounds": args.rounds}
    about |= QUICK if args.quick else SIZES
    config = random_models.hint(random_models.backbone(quick=args.quick))
    mesh = random_models.one_device()
    predictor = Predictor(config, random_models.parameters(config, mesh), None, {})
    conditions = random_tokens(config, about["tasks"], about["condition"], seed=0)
    bank = Bank(predictor, bytes=ROOM)
    of_bank = _bank(bank, conditions)
    inputs = random_tokens(config, about["rows"], about["inputs"], seed=1)
    mixes = [tasks for tasks in (1, 4, 16) if tasks <= about["rows"]]
    batches = _batches(bank, conditions, inputs, mixes, about)
    result = about | {"bank": of_bank} | batches
    path = args.output / "mixed_tasks"
    results.write(path, result, _page(result))
    _draw(result["mixes"], path)


def _bank(bank: Bank, conditions: np.ndarray) -> dict[str, Any]:
    """Bytes of states, and medians of what it takes to get one."""
    first, *others = conditions
    bank.put(first)  # compiles
    generated = _seconds(functools.partial(bank.put, one) for one in others)
    ids = list(map(bank.state_id, conditions))
    held = _seconds(functools.partial(bank.get, [one]) for one in ids)
    with tempfile.TemporaryDirectory() as folder:
        writing = Bank(bank.predictor, bytes=ROOM, spill=folder)
        for condition in conditions[:10]:
            writing.put(condition)
        reading = Bank(bank.predictor, bytes=ROOM, spill=folder)
        loaded = _seconds(functools.partial(reading.get, [one]) for one in ids[:10])
    statistics_ = bank.statistics()
    return {
        "states": statistics_.states,
        "bytes_of_all": statistics_.bytes,
        "bytes_of_one": bank.held(ids[0]),
        "seconds_generated": generated,
        "seconds_from_disk": loaded,
        "seconds_held": held,
    }


def _seconds(calls: Iterable[Callable[[], Any]]) -> float:
    """The median of what calls take."""
    found = []
    for call in calls:
        start = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - start)
    return statistics.median(found)


class Turns:
    """Requests for tasks of a bank, served in both ways.

    Args:
        bank: of the tasks.
        ids: of their states.
        inputs: of the requests ``[N, S]``.
        length: of outputs.
        tasks: that the requests are of, as many of each.
    """

    def __init__(
        self,
        bank: Bank,
        ids: Sequence[str],
        inputs: np.ndarray,
        length: int,
        tasks: int,
    ) -> None:
        self._bank, self._ids, self._length = bank, ids, length
        self._inputs = inputs.reshape(tasks, -1, inputs.shape[-1])
        self._random = np.random.default_rng(tasks)

    def drawn(self) -> list[str]:
        """Any tasks, as many as the requests are of."""
        chosen = self._random.choice(len(self._ids), len(self._inputs), replace=False)
        return [self._ids[number] for number in chosen]

    def joined(self) -> Any:
        """The state of any tasks."""
        return self._bank.get(self.drawn())

    def together(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Outputs ``[G, R, T]`` of one batch, for these tasks or any."""
        return self._generated(ids or self.drawn(), self._inputs)

    def apart(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """The same from a batch for every task."""
        pairs = zip(ids or self.drawn(), self._inputs, strict=True)
        return np.concatenate([self._generated([one], own[None]) for one, own in pairs])

    def _generated(self, ids: Sequence[str], inputs: np.ndarray) -> np.ndarray:
        state = self._bank.get(ids)
        return self._bank.predictor.generate_tokens(inputs, state, self._length)[0]


def _batches(
    bank: Bank,
    conditions: np.ndarray,
    inputs: np.ndarray,
    mixes: Sequence[int],
    about: Mapping[str, int],
) -> dict[str, Any]:
    """Seconds of batches of several mixes, and how many rows agree."""
    ids = list(map(bank.state_id, conditions))
    ways, equal, joining = {}, 0, {}
    for tasks in mixes:
        turns = Turns(bank, ids, inputs, about["targets"], tasks)
        drawn = turns.drawn()
        equal += int((turns.together(drawn) == turns.apart(drawn)).all(-1).sum())
        joining[tasks] = _seconds([turns.joined] * 10)
        ways |= {(tasks, "together"): turns.together, (tasks, "apart"): turns.apart}
    seconds = results.interleaved(ways, about["rounds"])
    alone = seconds[mixes[0], "together"]
    found = []
    for tasks in mixes:
        together, apart = seconds[tasks, "together"], seconds[tasks, "apart"]
        found.append(
            {
                "tasks": tasks,
                "seconds_to_join": joining[tasks],
                "seconds_together": together,
                "seconds_apart": apart,
                "faster_by": results.ratio(apart, together),
                "of_one_task": results.ratio(alone, together),
            }
        )
    return {"equal_rows": equal, "compared": len(mixes) * len(inputs), "mixes": found}


def _page(result: Mapping[str, Any]) -> Iterator[str]:
    bank, rows = result["bank"], result["rows"]
    yield "# Batches that mix tasks\n"
    yield (
        f"`python -m benchmarks.mixed_tasks` on {results.told(result)}: {rows} "
        f"requests of 1 to {rows} tasks, out of a bank of {bank['states']}; condition "
        f"{result['condition']}, inputs {result['inputs']}, outputs "
        f"{result['targets']} tokens, greedy. Medians of {result['rounds']} "
        "interleaved rounds with other tasks in each; ratios are taken within a "
        "round, their range is in brackets. Joining states is part of a batch.\n"
    )
    yield "![seconds by tasks](mixed_tasks.png)\n"
    yield (
        f"Outputs that are the same in both ways: {result['equal_rows']} of "
        f"{result['compared']}.\n"
    )
    headers = ["tasks", "in one batch", "task by task", "one batch is faster by"]
    headers += ["part of the speed with one task", "joining states"]
    yield from results.table(
        headers,
        [
            (
                mix["tasks"],
                f"{_rate(rows, mix['seconds_together'])} /s",
                f"{_rate(rows, mix['seconds_apart'])} /s",
                mix["faster_by"],
                mix["of_one_task"],
                f"{1000 * mix['seconds_to_join']:.2f} ms",
            )
            for mix in result["mixes"]
        ],
    )
    yield (
        f"\nA state takes {bank['bytes_of_one'] / 2**20:.2f} MiB, all of them "
        f"{bank['bytes_of_all'] / 2**20:,.0f} MiB. To get one takes "
        f"{1e6 * bank['seconds_held']:.0f} µs where it is held, "
        f"{1000 * bank['seconds_from_disk']:.1f} ms from disk, and "
        f"{1000 * bank['seconds_generated']:.1f} ms where it has to be generated."
    )


def _rate(rows: int, seconds: Sequence[float]) -> str:
    return f"{rows / statistics.median(seconds):.1f}"


def _draw(mixes: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Seconds of requests, in both ways."""
    with results.picture(path, 5, 3.2) as figure:
        axes = figure.subplots()
        ways = {"seconds_together": "in one batch", "seconds_apart": "task by task"}
        for number, (name, label) in enumerate(ways.items()):
            places = [place + 0.4 * number - 0.2 for place in range(len(mixes))]
            medians = [statistics.median(mix[name]) for mix in mixes]
            colour = results.COLOURS[number]
            axes.bar(places, medians, 0.36, color=colour, alpha=0.6, label=label)
            for place, mix in zip(places, mixes, strict=True):
                own = mix[name]
                axes.plot([place] * len(own), own, ".", color=colour, markersize=4)
        axes.set_xticks(range(len(mixes)), [mix["tasks"] for mix in mixes])
        axes.set(xlabel="tasks that the requests are of", ylabel="seconds")
        axes.legend(frameon=False)


if __name__ == "__main__":
    main()
