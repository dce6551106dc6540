"""Waiting: rows in the order in which they came, taken in batches of one kind."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from hyperx.serve.jobs import Kind, Row


class FullError(Exception):
    """There is no room for more rows."""


class Waiting:
    """A bounded queue of rows between the clients and the device.

    Args:
        limit: most rows.
        patience: seconds that the oldest row waits for company of its kind.
        room: how many rows of a kind are computed together.
    """

    def __init__(
        self, limit: int, patience: float, room: Callable[[Kind], int]
    ) -> None:
        self._limit, self._patience, self._room = limit, patience, room
        self._rows: deque[tuple[float, Row]] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, rows: Sequence[Row]) -> None:
        """Appends the rows of a request, all or none.

        Raises:
            FullError: if they do not all fit.
        """
        with self._changed:
            self._drop()
            if len(self._rows) + len(rows) > self._limit:
                raise FullError(
                    f"expected room for {len(rows)} rows, got "
                    f"{len(self._rows)} of {self._limit} waiting"
                )
            now = time.monotonic()
            self._rows.extend((now, row) for row in rows)
            self._changed.notify()

    def take(self) -> list[Row]:
        """The oldest row and those of its kind that came next; waits for the first.

        Returns:
            At most as many as there is room for; none once the queue is closed and
            empty.
        """
        with self._changed:
            while True:
                self._drop()
                if not self._rows:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                since, oldest = self._rows[0]
                room = self._room(oldest.kind)
                chosen = [row for _, row in self._rows if row.kind == oldest.kind]
                left = since + self._patience - time.monotonic()
                if len(chosen) >= room or left <= 0 or self._closed:
                    return self._without(chosen[:room])
                self._changed.wait(left)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Lets `take` end once all that waits is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _without(self, chosen: list[Row]) -> list[Row]:
        taken = set(map(id, chosen))
        self._rows = deque(pair for pair in self._rows if id(pair[1]) not in taken)
        return chosen

    def _drop(self) -> None:
        """Forgets rows that nobody waits for."""
        if any(row.job.over for _, row in self._rows):
            self._rows = deque(pair for pair in self._rows if not pair[1].job.over)
