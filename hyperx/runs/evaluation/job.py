"""Evaluation of many checkpoints on many tasks, which may be killed and go on.

The unit is a checkpoint, a task and a control. What a unit found is kept in a file with
the settings that it was found under; it is evaluated anew only if they changed.

Of a job with several processes the first one decides what there is to do.
"""

import dataclasses
import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from etils import epath
from jax.sharding import Mesh

import hyperx
from hyperx.checkpoints import description
from hyperx.checkpoints.store import Store
from hyperx.data import controls as controls_lib
from hyperx.data.evaluation import Evaluation
from hyperx.inference.predictor import Predictor
from hyperx.model import ModelConfig
from hyperx.runs import distributed, models
from hyperx.runs.evaluation.findings import Finding, Kept, Unit

logger = logging.getLogger(__name__)

NO_OTHER = "no other condition to shuffle with"


class Evaluator(Protocol):
    """What a job needs of `hyperx.runs.evaluate.Evaluator`; see there."""

    split: str
    tasks: Sequence[str]

    def check(self, task: str) -> None: ...

    def leave_out(self, task: str) -> None: ...

    def data(self, task: str, predictor: Predictor) -> Evaluation: ...

    def run_task(
        self, predictor: Predictor, task: str, control: str, **options: Any
    ) -> dict[str, Any]: ...

    def settings(self, task: str, control: str) -> dict[str, Any]: ...

    def first_row(self, task: str) -> str: ...


def steps_of(model_dir: str | os.PathLike[str], which: str | int | None) -> list[int]:
    """The checkpoints that are meant.

    Args:
        model_dir: of the model.
        which: ``latest`` or None, ``all``, or steps separated by commas.

    Raises:
        FileNotFoundError: if one of them does not exist.
        ValueError: if `which` is something else.
    """
    if which in (None, "latest"):
        return [models.latest_step(model_dir)]
    store = Store(epath.Path(model_dir) / models.CHECKPOINTS)
    if which == "all":
        models.latest_step(model_dir)  # There is one.
        return store.steps()
    try:
        steps = sorted({int(part) for part in str(which).split(",")})
    except ValueError:
        raise ValueError(
            f"expected steps such as 'all', 'latest' or '100,200', got {which!r}"
        ) from None
    for step in steps:
        store.checkpoint(step)  # It exists.
    return steps


@dataclasses.dataclass
class Job:
    """Evaluates what has not been evaluated yet.

    Attributes:
        evaluator: what to evaluate on.
        model_dir: of the model.
        folder: where findings and predictions are kept.
        controls: see `hyperx.runs.evaluate.Evaluator.run`.
        mesh: where to compute.
        allow_missing: whether to go on without tasks that cannot be prepared.
        missing: those, with the reason.
    """

    evaluator: Evaluator
    model_dir: epath.Path
    folder: epath.Path
    controls: Sequence[str]
    mesh: Mesh
    allow_missing: bool = False
    missing: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._model = description.read(self.model_dir)["model"]
        self.method = ModelConfig.from_json(self._model).method
        self._store = Store(self.model_dir / models.CHECKPOINTS)
        self._first_row = functools.cache(self._read_first_row)
        self._digest = functools.cache(lambda step: self._store.checkpoint(step).digest)
        self._kept = Kept(self.folder, self.evaluator.split)
        self._compiled: Predictor | None = None

    def run(self, steps: Sequence[int]) -> list[Finding]:
        """The findings of all units, by checkpoint, task and control."""
        possible = controls_lib.possible(self.method.reads)
        controls = [control for control in self.controls if control in possible]
        units = [
            Unit(*parts)
            for parts in itertools.product(steps, self.evaluator.tasks, controls)
        ]
        found = self._read(units)
        for task in dict.fromkeys(u.task for u, f in found.items() if f is None):
            self._try(task, self.evaluator.check)  # Before hours are spent on others.
        if self.missing:  # Others may have been shuffled with them.
            found = self._read(units)
        left = [
            unit
            for unit, finding in found.items()
            if finding is None and unit.task not in self.missing
        ]
        kept = sum(finding is not None for finding in found.values())
        if kept:
            logger.info("%d of %d evaluated before", kept, len(units))
        for done, finding in enumerate(self._evaluate(left), start=1):
            found[finding.unit] = finding
            self._kept.write(finding, self._settings(finding.unit))
            logger.info("[%d/%d] %s", done, len(left), _line(finding))
        return [finding for finding in found.values() if finding is not None]

    def _evaluate(self, units: Iterable[Unit]) -> Iterator[Finding]:
        """Yields findings; one checkpoint is in memory at a time."""
        for step, of_step in itertools.groupby(units, lambda unit: unit.step):
            predictor = None  # Leaves its memory to the next one.
            predictor = self._load(step)
            prepare = functools.partial(self.evaluator.data, predictor=predictor)
            for task, of_task in itertools.groupby(of_step, lambda unit: unit.task):
                self._try(task, prepare)
                if task not in self.missing:
                    for unit in of_task:
                        yield self._one(predictor, unit)

    def _try(self, task: str, prepare: Callable[[str], Any]) -> None:
        """Notes that a task cannot be read, if the job may go on without it."""
        failure = None
        try:
            prepare(task)
        except Exception as error:
            if not self.allow_missing:
                raise
            failure = error
        if not self.allow_missing:
            return
        reason = failure and f"{type(failure).__name__}: {failure}"
        agreed = distributed.agreed(reason)
        if agreed is not None:
            self.missing[task] = agreed
            self.evaluator.leave_out(task)
            logger.warning("left out %s: %s", task, agreed)
        elif failure is not None:
            raise failure

    def _load(self, step: int) -> Predictor:
        loaded = models.load(self.model_dir, step, mesh=self.mesh)
        # What is compiled belongs to the first; it shall not hold its parameters.
        params, loaded.params = loaded.params, None
        self._compiled = self._compiled or loaded
        return self._compiled.with_params(params)

    def _one(self, predictor: Predictor, unit: Unit) -> Finding:
        start = time.monotonic()
        data = self.evaluator.data(unit.task, predictor)
        metrics, lacks = {}, None
        if data.has(unit.control):
            metrics = self.evaluator.run_task(
                predictor,
                unit.task,
                unit.control,
                step=unit.step,
                predictions_dir=self.folder,
            )
        else:
            lacks = NO_OTHER
        return Finding(
            unit=unit,
            metrics={name: _number(value) for name, value in metrics.items()},
            data=data.report(),
            seconds=time.monotonic() - start,
            lacks=lacks,
        )

    def _settings(self, unit: Unit) -> dict[str, Any]:
        """All that a finding depends on."""
        return self.evaluator.settings(unit.task, unit.control) | {
            "step": unit.step,
            "model": self._model,
            "checkpoint": self._digest(unit.step),
            "first_row": self._first_row(unit.task),
            "hyperx": hyperx.__version__,
        }

    def _read_first_row(self, task: str) -> str | None:
        """None if it cannot be read, which is reported where the task is tried."""
        try:
            return self.evaluator.first_row(task)
        except Exception:
            return None

    def _read(self, units: Iterable[Unit]) -> dict[Unit, Finding | None]:
        """The findings of earlier jobs, as the first process sees them."""
        units = list(units)
        found = [self._kept.read(unit, self._settings(unit)) for unit in units]
        told = distributed.agreed([f and dataclasses.asdict(f) for f in found])
        return {
            unit: fields and Finding(**{**fields, "unit": unit})
            for unit, fields in zip(units, told, strict=True)
        }


def _number(value: Any) -> float:
    """Of a metric; seqio also has its own scalars."""
    return float(getattr(value, "value", value))


def _line(finding: Finding) -> str:
    """A finding for people."""
    unit = finding.unit
    figures = [
        f"{name.replace('_', ' ')} {value:.1f}"
        for name, value in finding.metrics.items()
        if "/" not in name
    ]
    what = finding.lacks or ", ".join(figures[:3])
    return (
        f"step {unit.step} · {unit.task} · {unit.control}: {what} "
        f"({finding.seconds:.0f} s)"
    )
