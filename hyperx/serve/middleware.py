"""Middleware: who may ask, how much, and what is counted of it."""

import asyncio
import hmac
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hyperx.serve.metrics import Metrics
from hyperx.serve.refusals import Refusal

# How many times as much as is allowed is read before a connection is cut.
_PATIENT = 16
PROTECTED = ("/v1/", "/metrics")


def refused(refusal: Refusal) -> JSONResponse:
    """The response that tells a refusal."""
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


class Measured:
    """Counts requests by route and status, and measures how long they take."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = time.perf_counter(), 499  # Of a client that left.

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request(route, status, time.perf_counter() - start)


class Authorised:
    """Lets requests through that bear the token."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._refuses(scope):
            refusal = Refusal(
                401,
                "expected the header `Authorization: Bearer TOKEN` with the token of "
                "this service, got none or another one",
                {"WWW-Authenticate": "Bearer"},
            )
            return await refused(refusal)(scope, receive, send)
        await self._app(scope, receive, send)

    def _refuses(self, scope: Scope) -> bool:
        if self._expected is None or scope["type"] != "http":
            return False
        if not scope["path"].startswith(PROTECTED):
            return False
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        return not hmac.compare_digest(given, self._expected)


class Bounded:
    """Reads bodies before anything else does, up to a size and within a time."""

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(receive, Headers(scope=scope))
        except Refusal as refusal:
            return await refused(refusal)(scope, receive, send)
        except TimeoutError:
            late = f"expected the body within {self._seconds:g} seconds, got a part"
            return await refused(Refusal(408, late))(scope, receive, send)
        if body is not None:
            await self._app(scope, _replayed(body, receive), send)

    async def _body(self, receive: Receive, headers: Headers) -> bytes | None:
        """All of it; None if the client left.

        What is too large is not kept, but read for a while: who is still sending would
        not see the refusal.
        """
        parts, size, announced = [], 0, headers.get("content-length", "0")
        too_large = int(announced) > self._most
        while size <= _PATIENT * self._most:
            message: dict[str, Any] = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            too_large = too_large or size > self._most
            parts.append(b"" if too_large else part)
            if not message.get("more_body", False):
                break
        if too_large:
            raise Refusal(
                413,
                f"expected at most {self._most} bytes, got {max(size, int(announced))}",
                {"Connection": "close"},
            )
        return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read already, and then what follows it."""
    first = True

    async def replay() -> Message:
        nonlocal first
        if not first:
            return await receive()
        first = False
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
