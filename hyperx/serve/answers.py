"""Answers: waiting for a job, for its client to leave, and for time to run out."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hyperx.inference.bank import UnknownStateError
from hyperx.serve.jobs import Job
from hyperx.serve.refusals import Refusal
from hyperx.serve.service import Service
from hyperx.serve.settings import Settings

logger = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """Events of a job in the format of server-sent events."""

    def __init__(self, told: AsyncGenerator[tuple[str, Any]], job: Job) -> None:
        super().__init__(_sent(told), media_type="text/event-stream")
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.give_up()


async def _sent(told: AsyncGenerator[tuple[str, Any]]) -> AsyncGenerator[str]:
    async with contextlib.aclosing(told):
        async for event, data in told:
            yield f"event: {event}\ndata: {json.dumps(data)}\n\n"


async def answered(job: Job, request: Request, settings: Settings) -> list[Any]:
    """The results of a job's rows.

    Raises:
        Refusal: if the client leaves, time runs out, or the job fails.
    """
    gone = asyncio.create_task(_gone(request))
    answer = asyncio.wrap_future(job.answer)
    try:
        left = job.accepted + settings.timeout - time.monotonic()
        await asyncio.wait(
            {gone, answer}, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        if answer.done():
            return _result(answer)
        if gone.done():
            raise Refusal(499, "expected a client that waits, got one that left")
        raise _late(settings)
    finally:
        gone.cancel()
        job.give_up()


async def events(
    service: Service,
    job: Job,
    state_id: str,
    news: asyncio.Queue[tuple[int, list[int]]],
    request: Request,
) -> AsyncGenerator[tuple[str, Any]]:
    """What happens to a job: its tokens, and at last its answer or an error."""
    answer = asyncio.wrap_future(job.answer)
    gone = asyncio.create_task(_gone(request))
    texts: dict[int, str] = {}
    try:
        while True:
            new = asyncio.create_task(news.get())
            left = job.accepted + service.settings.timeout - time.monotonic()
            await asyncio.wait(
                {new, answer, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if new.done():
                number, tokens = new.result()
                if text := _continued(service, texts, number, tokens):
                    yield "tokens", {"input": number, "text": text}
                continue
            new.cancel()
            if gone.done():
                return
            if not answer.done():
                raise _late(service.settings)
            yield "done", service.generated(state_id, _result(answer)).model_dump()
            return
    except Refusal as refusal:
        yield "error", refusal.body()
    finally:
        gone.cancel()
        job.give_up()


def _continued(
    service: Service, texts: dict[int, str], number: int, tokens: list[int]
) -> str:
    """The text that new tokens add; none as long as they change what was sent."""
    text, sent = (
        service.predictor.decode_tokens(np.array(tokens)),
        texts.get(number, ""),
    )
    if not text.startswith(sent):
        return ""
    texts[number] = text
    return text[len(sent) :]


def _result(answer: asyncio.Future[list[Any]]) -> list[Any]:
    try:
        return answer.result()
    except Refusal:
        raise
    except UnknownStateError as error:
        raise Refusal(404, str(error)) from None
    except asyncio.CancelledError:
        raise Refusal(499, "expected a client that waits, got one that left") from None
    except Exception as error:
        logger.error("a request failed", exc_info=error)
        raise Refusal(500, "expected an answer, got an error of the service") from None


def _late(settings: Settings) -> Refusal:
    return Refusal(504, f"expected an answer within {settings.timeout:g} seconds")


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
