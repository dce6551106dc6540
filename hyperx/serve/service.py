"""Service: from a request to rows, and from their results to an answer."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from hyperx.inference.bank import Bank, UnknownStateError
from hyperx.inference.decoding import Requests
from hyperx.inference.predictor import Predictor
from hyperx.serve import schemas
from hyperx.serve.engine import CHOICES, Engine
from hyperx.serve.jobs import Job, Kind, Row
from hyperx.serve.metrics import Metrics
from hyperx.serve.reading import Reading
from hyperx.serve.refusals import Refusal, busy, unavailable
from hyperx.serve.settings import Settings
from hyperx.serve.waiting import FullError, Waiting
from hyperx.serve.worker import Worker

logger = logging.getLogger(__name__)

# Of requests that do not say how many.
_NEW_TOKENS = 32

Streams = Callable[[int, list[int]], None]


class Service:
    """One model, its bank, and the queue in front of them.

    Attributes:
        predictor: the model.
        settings: limits.
        bank: of task states.
        metrics: what is counted.
        worker: the thread that computes.
        draining: whether new requests are refused because the service will end.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        if predictor.vocabulary is None:
            raise ValueError("expected a model with a vocabulary to serve, got none")
        predictor.check_text("")  # It may have to be fetched, and be out of reach.
        self.predictor, self.settings = predictor, settings
        self._reading = Reading(predictor, settings)
        lengths = self._reading.condition_lengths
        self.bank = Bank(
            predictor,
            bytes=settings.bank_bytes,
            spill=settings.spill,
            spill_bytes=settings.spill_bytes,
            lengths=lengths,
        )
        self._engine = Engine(
            predictor, self.bank, settings, self._reading.input_lengths, lengths
        )
        self._waiting = Waiting(
            settings.max_queue, settings.patience, self._engine.room
        )
        self.metrics = Metrics(lambda: len(self._waiting), self.bank.statistics)
        self.worker = Worker(
            self._engine, self.bank, self._waiting, self.metrics, settings.chunk
        )
        self.draining = False
        self._lock = threading.Lock()
        self._open: dict[Future[list[Any]], Job] = {}

    @property
    def live(self) -> bool:
        """Whether the worker has not failed."""
        return not self.worker.failed

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.live and self.worker.ready.is_set() and not self.draining

    @property
    def idle(self) -> bool:
        """Whether all that was accepted is answered."""
        return not self._open

    def give_up(self) -> None:
        """Refuses all that is not answered yet; it is computed no further."""
        with self._lock:
            jobs = list(self._open.values())
        for job in jobs:
            job.fail(_ending())

    def close(self) -> None:
        """Answers what waits and ends the worker."""
        self._waiting.close()
        self.worker.join()

    def check_ready(self) -> None:
        """Raises a refusal while requests are not taken."""
        if self.ready:
            return
        if self.draining:
            raise _ending()
        if not self.live:
            raise Refusal(500, "expected a working service, got one that has failed")
        worker = self.worker
        raise unavailable(
            f"expected a service that is ready, got {worker.compiled} of "
            f"{worker.programs} programs compiled"
        )

    def registration(self, request: schemas.StateRequest) -> list[Row]:
        """What reading a condition asks of the device."""
        if not self.predictor.conditioned:
            raise self._reads_none()
        condition = self._reading.condition(request.condition)
        state_id = self.bank.remember(condition)
        return [Row(Job(1), 0, Kind("adapt"), state_id, condition)]

    def generation(
        self, request: schemas.GenerateRequest, streams: Streams | None = None
    ) -> list[Row]:
        """What a request to generate asks of the device."""
        self._check_beams(request)
        wishes = Requests.of(
            request.strategy(),
            self._limit(request),
            returned=request.returned,
            seed=request.seed,
        )
        task = self._task(request)
        inputs = self._reading.inputs(request.inputs)
        job = Job(len(inputs), streams)
        kind = "beam" if request.beams > 1 else "generate"
        return [
            Row(
                job,
                number,
                Kind(kind, self._reading.input_length(tokens), request.beams),
                *task,
                tokens=tokens,
                requests=wishes,
            )
            for number, tokens in enumerate(inputs)
        ]

    def scoring(self, request: schemas.ScoreRequest) -> list[Row]:
        """What a request to score asks of the device: some choices in every row."""
        task = self._task(request)
        inputs = self._reading.inputs(request.inputs)
        parts = []
        for tokens, texts in zip(inputs, request.choices, strict=True):
            choices = self._reading.choices(texts)
            for start in range(0, len(choices), CHOICES):
                parts.append((tokens, choices[start : start + CHOICES]))
        job = Job(len(parts))
        return [
            Row(
                job,
                number,
                Kind("score", self._reading.input_length(tokens)),
                *task,
                tokens=tokens,
                choices=choices,
            )
            for number, (tokens, choices) in enumerate(parts)
        ]

    def submit(self, rows: list[Row]) -> Job:
        """Puts a request's rows into the queue; from here on it will be answered."""
        self.check_ready()
        if len(rows) > self.settings.max_queue:
            raise Refusal(
                422,
                f"expected at most {self.settings.max_queue} inputs, or {CHOICES} "
                f"times as many choices, got {len(rows)} times that",
            )
        job = rows[0].job
        with self._lock:
            self._open[job.answer] = job
        job.answer.add_done_callback(self._closed)
        try:
            self._waiting.put(rows)
        except FullError as error:
            job.give_up()
            raise busy(str(error)) from None
        return job

    def generated(self, state_id: str, results: list[Any]) -> schemas.GenerateAnswer:
        """The answer to a request to generate."""
        outputs = [
            schemas.Output(
                input=number,
                text=self.predictor.decode_tokens(tokens),
                tokens=len(tokens),
                score=score,
                ended=ended,
            )
            for number, own in enumerate(results)
            for tokens, score, ended in own
        ]
        return schemas.GenerateAnswer(state=state_id, outputs=outputs)

    def scored(
        self, request: schemas.ScoreRequest, state_id: str, results: list[Any]
    ) -> schemas.ScoreAnswer:
        """The answer to a request to score."""
        flat = iter([score for part in results for score in part])
        scores = [[next(flat) for _ in texts] for texts in request.choices]
        return schemas.ScoreAnswer(state=state_id, scores=scores)

    def check_state(self, state_id: str) -> None:
        """Raises a refusal for a state that is not known, or of another model."""
        try:
            self.bank.check(state_id)
        except UnknownStateError as error:
            raise Refusal(404, str(error)) from None
        except ValueError as error:
            raise Refusal(409, str(error)) from None

    def _closed(self, answer: Future[list[Any]]) -> None:
        with self._lock:
            del self._open[answer]

    def _task(self, request: schemas.TaskRequest) -> tuple[str, np.ndarray | None]:
        """The id of a request's task, and its condition if the request carries it."""
        if not self.predictor.conditioned:
            if request.state is not None or request.condition is not None:
                raise self._reads_none()
            return self.bank.remember(None), None
        if request.state is not None:
            self.check_state(request.state)
            return request.state, None
        if request.condition is None:
            raise Refusal(422, "expected a state or a condition, got neither")
        condition = self._reading.condition(request.condition)
        return self.bank.remember(condition), condition

    def _reads_none(self) -> Refusal:
        reads = self.predictor.config.method.reads
        return Refusal(
            422, f"expected no condition for a model that reads {reads!r}, got one"
        )

    def _limit(self, request: schemas.GenerateRequest) -> int:
        most = self.settings.max_new_tokens
        if request.max_new_tokens is None:
            return min(_NEW_TOKENS, most)
        if request.max_new_tokens > most:
            raise Refusal(
                422,
                f"expected max_new_tokens of at most {most}, got "
                f"{request.max_new_tokens}",
            )
        return request.max_new_tokens

    def _check_beams(self, request: schemas.GenerateRequest) -> None:
        offered = [1, *self.settings.beams]
        if request.beams not in offered:
            raise Refusal(422, f"expected beams among {offered}, got {request.beams}")


def _ending() -> Refusal:
    return unavailable("expected a service that goes on, got one that ends")
