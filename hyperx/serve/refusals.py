"""Refusals: what a request is told instead of an answer."""

from typing import Any


class Refusal(Exception):
    """A status and a message, in one form for all routes.

    Attributes:
        status: of HTTP.
        message: what was expected, and what came.
        headers: besides.
    """

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"status": self.status, "message": printable(self.message)}}


def busy(message: str, seconds: float = 1.0) -> Refusal:
    """The queue is full: try again later."""
    return Refusal(429, message, {"Retry-After": str(max(1, round(seconds)))})


def unavailable(message: str) -> Refusal:
    """The service does not take requests now."""
    return Refusal(503, message, {"Retry-After": "5"})


def printable(text: str) -> str:
    """`text` without what UTF-8 cannot hold: lone surrogates, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
