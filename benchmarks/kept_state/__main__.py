"""One task with 100 inputs: a kept state, concatenation, and reference mode.

    python -m benchmarks.kept_state

HINT on T5 v1.1 small with random weights. The condition is read once and its state
kept; or a plain T5 reads it before every input; or every row does what the published
code of HINT does (`reference_mode`). The ways take turns, and ratios are
taken within a round. Beside them stand those of operations (`hyperx cost`).
Writes `docs/results/kept_state.{md,json,png}`.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import random_models, results
from benchmarks.kept_state import report
from benchmarks.kept_state.ways import (
    CONCATENATION,
    KEPT,
    REFERENCE,
    WAYS,
    Params,
    Way,
)
from benchmarks.random_models import random_tokens
from hyperx.backbone.t5 import EOS
from hyperx.costs import alternatives
from hyperx.costs.stages import Use
from hyperx.model import ModelConfig

EXAMPLES = 100
# How many times faster than reference mode, and which part of the ratio of operations
# with concatenation, a kept state has to be at 32 rows.
FASTER, PART = 5, 0.8


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        rows: inputs that are computed together (R).
        beams: of decoding; 1 is greedy.
        inputs: that are served; a batch if None. Reference mode always gets a batch.
    """

    rows: int
    beams: int = 1
    inputs: int | None = None

    def count(self, name: str) -> int:
        """How many inputs a way serves."""
        return self.rows if name == REFERENCE else self.inputs or self.rows

    def __str__(self) -> str:
        return f"R = {self.rows}, " + (
            f"beam {self.beams}" if self.beams > 1 else "greedy"
        )


CASES = tuple(
    Case(rows, beams, EXAMPLES if (rows, beams) == (32, 1) else None)
    for beams in (1, 4)
    for rows in (1, 8, 32)
)
LENGTHS = {"condition": 512, "inputs": 64, "targets": 16}
QUICK_CASES = (Case(2, 2, 3),)
QUICK_LENGTHS = {"condition": 16, "inputs": 8, "targets": 8}


class Turns:
    """A way under way.

    Attributes:
        started: what it has done for the task.
        outputs: of its last turn.
    """

    def __init__(self, way: Way, batches: Sequence[np.ndarray], length: int) -> None:
        self._way, self._batches, self._length = way, batches, length
        self.started: Any = None
        self.outputs: list[jax.Array] = []

    def start(self, condition: np.ndarray) -> Any:
        self.started = self._way.start(condition)
        return self.started

    def compile(self) -> None:
        """Decodes a first token in batches of every size."""
        sizes = {len(batch): batch for batch in self._batches}
        for batch in sizes.values():
            jax.block_until_ready(self._way.serve(batch, self.started, 1))

    def serve(self) -> list[jax.Array]:
        self.outputs = [
            self._way.serve(batch, self.started, self._length)
            for batch in self._batches
        ]
        return self.outputs

    def best(self) -> np.ndarray:
        """The best hypotheses of all rows, ``[N, T]``.

        Raises:
            RuntimeError: if one of them has ended.
        """
        best = np.concatenate([np.asarray(out)[:, 0] for out in self.outputs])
        if (written := (best > EOS).sum()) != best.size:
            raise RuntimeError(f"expected {best.size} tokens, got {written}")
        return best


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes the report."""
    args = results.arguments(__doc__, argv, rounds=3)
    about = results.machine() | {"rounds": args.rounds, "examples": EXAMPLES}
    about |= LENGTHS if not args.quick else QUICK_LENGTHS
    config = random_models.hint(random_models.backbone(quick=args.quick))
    params = random_models.parameters(config, random_models.one_device())
    cases = []
    for case in QUICK_CASES if args.quick else CASES:
        cases.append(measured(config, params, about, case))
        print(f"{case}: {cases[-1]['seconds']}", flush=True)
    path = args.output / "kept_state"
    found = [] if args.quick else goals(cases)
    result = about | {"goals": found, "cases": cases}
    results.write(path, result, report.page(result))
    report.draw(cases, EXAMPLES, path)


def measured(
    config: ModelConfig, params: Params, about: Mapping[str, int], case: Case
) -> dict[str, Any]:
    """Seconds of all ways in a case, and what follows from them."""
    lengths = {name: about[name] for name in LENGTHS}
    use = Use(**lengths, rows=case.rows, beams=case.beams)
    condition = random_tokens(config, use.condition, seed=0)
    inputs = random_tokens(config, max(map(case.count, WAYS)), use.inputs, seed=1)
    turns = {}
    for name, build in WAYS.items():
        own = inputs[: case.count(name)]
        batches = np.split(own, range(use.rows, len(own), use.rows))
        turns[name] = Turns(build(config, params, use), batches, use.targets)
        turns[name].start(condition)
        turns[name].compile()
    runs = {name: one.serve for name, one in turns.items()}
    once = {"once": lambda: turns[KEPT].start(condition)}
    seconds = results.interleaved(once | runs, about["rounds"])
    best = {name: one.best()[: case.rows] for name, one in turns.items()}
    return {
        "case": str(case),
        "rows": case.rows,
        "beams": case.beams,
        "inputs": {name: case.count(name) for name in WAYS},
        "seconds": seconds,
        "equal_rows": int((best[KEPT] == best[REFERENCE]).all(-1).sum()),
        "against": {
            name: against(config, use, case, seconds, name)
            for name in (CONCATENATION, REFERENCE)
        },
    }


def against(
    config: ModelConfig,
    use: Use,
    case: Case,
    seconds: Mapping[str, Sequence[float]],
    name: str,
) -> dict[str, Any]:
    """How a kept state does beside another way, measured and by operations."""
    costs = alternatives.of_model(config, use)
    kept, other = (
        [one / case.count(way) for one in seconds[way]] for way in (KEPT, name)
    )
    rounds = list(zip(seconds["once"], kept, other, strict=True))
    measured_ratio = results.ratio(
        [EXAMPLES * each for _, _, each in rounds],
        [once + EXAMPLES * each for once, each, _ in rounds],
    )
    analytic = costs[name].flops(EXAMPLES) / costs[KEPT].flops(EXAMPLES)
    saved = statistics.median(each - own for _, own, each in rounds)
    once = statistics.median(seconds["once"])
    return {
        "faster_by": measured_ratio,
        "fewer_operations_by": analytic,
        "part": measured_ratio.median / analytic,
        "break_even": max(math.ceil(once / saved), 1) if saved > 0 else None,
        "analytic_break_even": costs[KEPT].break_even(costs[name]),
    }


def goals(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is aimed at, what came of it, and whether that is enough."""
    wide = [case for case in cases if case["rows"] == 32]
    slowest = min(case["against"][REFERENCE]["faster_by"].median for case in wide)
    (whole,) = (case for case in wide if case["inputs"][KEPT] == EXAMPLES)
    part = whole["against"][CONCATENATION]["part"]
    return [
        {
            "goal": f"at 32 rows at least {FASTER} times as fast as reference mode",
            "found": f"{slowest:.1f} times",
            "reached": slowest >= FASTER,
        },
        {
            "goal": f"at 32 rows, over concatenation, at least {PART:.0%} of what "
            "operations tell",
            "found": f"{part:.0%}",
            "reached": part >= PART,
        },
    ]


if __name__ == "__main__":
    main()
