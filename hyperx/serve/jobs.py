"""Jobs: what one request asks of the device, row by row."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, NamedTuple

import numpy as np

from hyperx.inference.decoding.requests import Requests


class Kind(NamedTuple):
    """What has to agree of rows that are computed together.

    Attributes:
        task: ``adapt``, ``generate``, ``beam`` or ``score``.
        length: of the inputs, padded.
        beams: hypotheses of every row.
    """

    task: str
    length: int = 0
    beams: int = 1


class Job:
    """One accepted request: it is answered once all its rows are.

    Attributes:
        answer: a future of one result per row.
        streams: called from the worker's thread with a row's number and its tokens so
            far, or None.
        accepted: when, in seconds of the monotonic clock.
    """

    def __init__(
        self, rows: int, streams: Callable[[int, list[int]], None] | None = None
    ) -> None:
        self.answer: Future[list[Any]] = Future()
        self.streams = streams
        self.accepted = time.monotonic()
        self._lock = threading.Lock()
        self._results: list[Any] = [None] * rows
        self._missing = rows

    @property
    def over(self) -> bool:
        """Whether nobody waits any more: answered, failed or given up."""
        return self.answer.done()

    def give_up(self) -> None:
        """Tells that the client has left; rows that wait or run are dropped."""
        self.answer.cancel()

    def finish(self, index: int, result: Any) -> None:
        """Takes in the result of a row; the last one answers the request."""
        with self._lock:
            self._results[index] = result
            self._missing -= 1
            complete = self._missing == 0
        if complete:
            self._resolve(self.answer.set_result, self._results)

    def fail(self, error: Exception) -> None:
        """Answers with an error."""
        self._resolve(self.answer.set_exception, error)

    def _resolve(self, set_: Callable[[Any], None], value: Any) -> None:
        # Not if the client left, or another row has failed.
        with contextlib.suppress(InvalidStateError):
            set_(value)


@dataclasses.dataclass(eq=False)
class Row:
    """One input of a job.

    Attributes:
        job: it belongs to.
        index: in that job.
        kind: of computation.
        state_id: of its task.
        condition: what the hypernetwork reads of the task, ``[I]``; None if it reads
            nothing, or if the request has the id only.
        tokens: of the input with EOS, ``[S]``.
        requests: how to decode it.
        choices: outputs to score, each with EOS.
    """

    job: Job
    index: int
    kind: Kind
    state_id: str
    condition: np.ndarray | None = None
    tokens: np.ndarray | None = None
    requests: Requests | None = None
    choices: list[np.ndarray] = dataclasses.field(default_factory=list)
