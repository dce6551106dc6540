"""The training loop: steps, and what happens between them."""

import collections
import dataclasses
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.checkpoints.store import Store
from hyperx.data import batches as batches_lib
from hyperx.runs import distributed, progress
from hyperx.runs.metrics_log import MetricsLog
from hyperx.runs.state import TrainState
from hyperx.runs.step import Step, compiled

logger = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class Loop:
    """Steps, and what happens between them.

    Attributes:
        store: receives checkpoints.
        mesh: where the steps run.
        log: receives metrics; None in all processes of a job but the first.
        log_period: steps between lines of metrics.
        eval_period: steps between evaluations; None for none.
        evaluate: metrics of parameters at a step; None for none.
    """

    store: Store
    mesh: Mesh
    log: MetricsLog | None
    log_period: int
    eval_period: int | None
    evaluate: Callable[[Any, int], dict[str, float]] | None

    def run(
        self,
        step: Step,
        state: TrainState,
        batches: batches_lib.GroupedBatches,
        total_steps: int,
        *arguments: Any,
    ) -> dict[str, float]:
        """Trains up to `total_steps`, or until SIGTERM.

        Args:
            step: see `hyperx.runs.step.make_step`; compiled here.
            state: to start from; its buffers are given away.
            batches: by step.
            total_steps: where to stop.
            *arguments: of every step, after the state and the batch.

        Returns:
            The metrics of the last step taken, ``step`` and ``total_steps``.
        """
        start = int(state.step)
        last: dict[str, float] = {"step": start}
        if self._evaluating(start) and not self._evaluated(start):
            with sharding.use(self.mesh):  # What a kill or SIGTERM left out.
                self._evaluate(state, start)
        if start >= total_steps:
            logger.info("nothing to do: step %d of %d", start, total_steps)
            return last | {"total_steps": total_steps}
        taken = compiled(step, state)
        # Metrics are read one step late, so that the next step is already running.
        waiting: collections.deque = collections.deque()
        with (
            sharding.use(self.mesh),
            _termination() as terminated,
            progress.Bar(total_steps, start, enabled=distributed.first()) as bar,
        ):
            for batch in self._placed(batches, start, total_steps):
                state, metrics = taken(state, batch, *arguments)
                start += 1
                waiting.append((start, metrics, batch["encoder_tokens"].shape))
                stopped = start < total_steps and _stopping(terminated, start)
                final = start == total_steps or stopped
                saving = final or self.store.due(start)
                evaluating = self._evaluating(start) and not stopped
                while len(waiting) > (0 if saving or evaluating else 1):
                    last = self._finish(*waiting.popleft(), bar)
                if saving:  # First: an evaluation may take longer than one has.
                    self.store.save(start, state)
                if evaluating:
                    self._evaluate(state, start)
                if final:
                    break
        self.store.wait()
        if self.log is not None:
            self.log.close()
        if start < total_steps:
            logger.warning("stopped by SIGTERM: step %d is saved", start)
        return last | {"total_steps": total_steps}

    def _placed(
        self, batches: batches_lib.GroupedBatches, start: int, stop: int
    ) -> Iterator[dict[str, jax.Array]]:
        """Batches as global arrays on the mesh, made ahead of time."""
        for batch in batches_lib.prefetch(batches, start, stop):
            shardings = sharding.batch_shardings(batch, self.mesh)
            yield {
                name: jax.make_array_from_process_local_data(
                    shardings[name], array, (batches.groups, *array.shape[1:])
                )
                for name, array in batch.items()
            }

    def _finish(
        self, step: int, metrics: dict[str, jax.Array], shape: tuple, bar: Any
    ) -> dict[str, float]:
        """Reads the metrics of a step that was taken; refuses what is no number."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not all(map(math.isfinite, values.values())):
            self.store.wait()
            good = self.store.latest()
            raise FloatingPointError(
                f"expected a finite loss, gradient and update at step {step}, got loss "
                f"{values['loss']}, norms {values['gradient_norm']} and "
                f"{values['update_norm']}; "
                + ("no checkpoint yet" if good is None else f"step {good} is intact")
            )
        bar.update(step, loss=values["loss"], rows=shape[0] * shape[1])
        if step % self.log_period == 0:
            steps, rows = bar.per_second()
            rates = {"steps_per_second": steps, "rows_per_second": rows}
            self._log(step, "train", values | rates)
        return values | {"step": step}

    def _evaluating(self, step: int) -> bool:
        return self.evaluate is not None and step > 0 and step % self.eval_period == 0

    def _evaluated(self, step: int) -> bool:
        """Whether the log has an evaluation of `step`; all processes say the same."""
        return distributed.agreed(self.log is not None and self.log.has(step, "eval"))

    def _evaluate(self, state: TrainState, step: int) -> None:
        self._log(step, "eval", self.evaluate(state.params, step))

    def _log(self, step: int, collection: str, values: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(step, collection, values)


def _stopping(terminated: threading.Event, step: int) -> bool:
    """Whether to end after `step`; all processes of a job do so at the same step."""
    if jax.process_count() > 1:
        return multihost_utils.reached_preemption_sync_point(step)
    return terminated.is_set()


class _termination:
    """Within it, SIGTERM asks for an orderly end instead of ending the process.

    In a job of several processes JAX sees to that: whichever gets the signal, it tells
    the others.
    """

    def __enter__(self) -> threading.Event:
        event = threading.Event()
        self._previous = None
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, lambda *_: event.set())
        return event

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
