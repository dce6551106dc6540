"""Worker: the one thread that owns the device."""

import logging
import threading
import time
from collections.abc import Sequence

import numpy as np

from hyperx.backbone.t5 import EOS
from hyperx.inference.bank import Bank
from hyperx.serve.engine import Batch, Engine
from hyperx.serve.jobs import Row
from hyperx.serve.metrics import Metrics
from hyperx.serve.waiting import Waiting
from hyperx.task_state import TaskState

logger = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The service ends before it was ready."""


class Worker(threading.Thread):
    """Compiles, then takes rows in batches and answers them until the queue closes.

    A batch that fails answers its rows with the error; the next one is tried as ever.

    Attributes:
        compiled: programs that are ready.
        programs: how many there will be.
        ready: set once all are.
        failed: whether the thread has ended by an error.
    """

    def __init__(
        self,
        engine: Engine,
        bank: Bank,
        waiting: Waiting,
        metrics: Metrics,
        chunk: int,
    ) -> None:
        super().__init__(name="hyperx-worker", daemon=True)
        self._engine, self._bank, self._waiting = engine, bank, waiting
        self._metrics, self._chunk = metrics, chunk
        self.compiled = self.programs = 0
        self.ready = threading.Event()
        self.failed = False

    def run(self) -> None:
        try:
            self._engine.warm_up(self._progress)
            self.ready.set()
            while rows := self._waiting.take():
                self._compute(rows)
        except _StoppedError:
            return
        except Exception as error:
            self.failed = True
            logger.exception("the worker ended")
            self._waiting.close()
            while rows := self._waiting.take():
                _fail(rows, error)

    def _progress(self, compiled: int, programs: int) -> None:
        if self._waiting.closed:
            raise _StoppedError
        self.compiled, self.programs = compiled, programs
        if compiled in (0, programs) or compiled % 8 == 0:
            logger.info("compiled %d of %d programs", compiled, programs)

    def _compute(self, rows: list[Row]) -> None:
        task, start = rows[0].kind.task, time.monotonic()
        states = self._states(rows)
        rows = [row for row in rows if row.state_id in states]
        if not rows:
            return
        try:
            layout = self._engine.layout(rows)
            waited = [start - row.job.accepted for row in rows]
            self._metrics.taken(task, layout.fill, waited)
            if task == "adapt":
                rows[0].job.finish(rows[0].index, rows[0].state_id)
            elif task == "score":
                scores = self._engine.score(rows, layout, states)
                for row, own in zip(rows, scores, strict=True):
                    row.job.finish(row.index, own)
            else:
                batch = self._engine.begin(rows, layout, states)
                self._decode(list(zip(rows, layout.cells, strict=True)), batch)
        except Exception as error:
            logger.exception("a batch failed")
            _fail(rows, error)
        self._metrics.computed(task, time.monotonic() - start)

    def _states(self, rows: list[Row]) -> dict[str, TaskState]:
        """States of the rows' tasks; where one cannot be had, its rows are told."""
        states = {}
        for state_id in dict.fromkeys(row.state_id for row in rows):
            try:
                states[state_id] = self._state(state_id, rows)
            except Exception as error:
                _fail([row for row in rows if row.state_id == state_id], error)
        return states

    def _state(self, state_id: str, rows: list[Row]) -> TaskState:
        """The state of one task; one that a row brought along cannot be missing."""
        if not self._bank.predictor.conditioned:
            return self._bank.state(None)
        for row in rows:
            if row.state_id == state_id and row.condition is not None:
                return self._bank.state(row.condition)
        return self._bank.get([state_id])

    def _decode(self, running: list[tuple[Row, tuple[int, int]]], batch: Batch) -> None:
        """Chunk by chunk, until every row has ended or nobody waits for it."""
        written = 0
        while running:
            batch.advance(self._chunk)
            open_, dropped = [], []
            for row, cell in running:
                if row.job.over:
                    dropped.append(cell)
                    continue
                tokens = batch.tokens[cell][0][: batch.lengths[cell][0]]
                if row.job.streams is not None:
                    row.job.streams(row.index, tokens.tolist())
                if batch.done[cell].all():
                    row.job.finish(row.index, _outputs(batch, cell, row))
                else:
                    open_.append((row, cell))
            self._metrics.written(int(batch.lengths[..., 0].sum()) - written)
            written = int(batch.lengths[..., 0].sum())
            if dropped and open_:
                batch.drop(dropped)
            running = open_


def _outputs(
    batch: Batch, cell: tuple[int, int], row: Row
) -> list[tuple[np.ndarray, float, bool]]:
    """Tokens, score and whether it ended by itself, of every output that is wanted."""
    outputs = []
    for number in range(int(row.requests.returned)):
        tokens = batch.tokens[cell][number][: batch.lengths[cell][number]]
        ended = bool(tokens.size) and int(tokens[-1]) == EOS
        outputs.append((tokens, float(batch.scores[cell][number]), ended))
    return outputs


def _fail(rows: Sequence[Row], error: Exception) -> None:
    for row in rows:
        row.job.fail(error)
