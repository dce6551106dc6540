"""How far a run is: a live bar on a terminal, plain lines elsewhere."""

import collections
import datetime
import sys
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

from rich import console as rich_console
from rich import progress as rich_progress

# Rates are those of the last seconds, so that compilation does not count for long.
WINDOW = 30.0
# Seconds between two displays.
PERIOD = 10.0
LIVE_PERIOD = 0.2


class Rate:
    """Steps and rows per second over the last `WINDOW` seconds."""

    def __init__(self, step: int, now: float) -> None:
        self._marks = collections.deque([(now, step, 0)])

    def mark(self, step: int, rows: int, now: float) -> None:
        """Notes that `step` steps are done, with `rows` more rows than before."""
        self._marks.append((now, step, self._marks[-1][2] + rows))
        while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW:
            self._marks.popleft()

    def per_second(self) -> tuple[float, float]:
        """Steps and rows per second; zeros before the first mark."""
        (start, first_step, first_rows) = self._marks[0]
        (end, last_step, last_rows) = self._marks[-1]
        elapsed = end - start
        if elapsed <= 0:
            return 0.0, 0.0
        return (last_step - first_step) / elapsed, (last_rows - first_rows) / elapsed


class Bar:
    """Shows the step, values such as the loss, steps/s, rows/s and the time left.

    On a terminal this is a line that changes, elsewhere one more line every `PERIOD`
    seconds and at the end::

        with progress.Bar(total=100) as bar:
            bar.update(1, rows=32, loss=loss)
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        description: str = "train",
        *,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describes the bar.

        Args:
            total: steps at the end.
            start: steps done before.
            description: what the steps do.
            enabled: whether to print anything.
            stream: where to print; standard error by default.
            clock: the time in seconds.
        """
        self._total, self._start, self._description = total, start, description
        self._enabled, self._stream, self._clock = enabled, stream or sys.stderr, clock
        self._live = self._stream.isatty()
        self._period = LIVE_PERIOD if self._live else PERIOD

    def __enter__(self) -> Self:
        self._shown_at = self._clock()
        self._shown_step = self._start
        self._rate = Rate(self._start, self._shown_at)
        self._latest: tuple[int, dict[str, Any]] = (self._start, {})
        if self._live and self._enabled:
            self._display = _display(self._stream)
            self._task = self._display.add_task(
                self._description, total=self._total, completed=self._start, text=""
            )
            self._display.start()
        return self

    def update(self, step: int, *, rows: int = 0, **values: Any) -> None:
        """Notes progress.

        Args:
            step: steps done.
            rows: rows processed since the previous update.
            **values: scalars to show, such as the loss. They are converted to numbers
                only when shown, so that arrays being computed are seldom waited for.
        """
        now = self._clock()
        self._rate.mark(step, rows, now)
        self._latest = (step, values)
        if now - self._shown_at >= self._period or step >= self._total:
            self._shown_at = now
            self._show()

    def per_second(self) -> tuple[float, float]:
        """Recent steps and rows per second."""
        return self._rate.per_second()

    def __exit__(self, *unused: object) -> None:
        if self._latest[0] != self._shown_step:
            self._show()
        if self._live and self._enabled:
            self._display.stop()

    def _show(self) -> None:
        step, values = self._latest
        self._shown_step = step
        if not self._enabled:
            return
        text = self._text(step, values)
        if self._live:
            self._display.update(self._task, completed=step, text=text)
        else:
            line = f"{self._description} {step}/{self._total}  {text}"
            print(line, file=self._stream, flush=True)

    def _text(self, step: int, values: dict[str, Any]) -> str:
        steps, rows = self.per_second()
        parts = [f"{name} {float(value):.4g}" for name, value in values.items()]
        parts.append(f"{_short(steps)} steps/s")
        if rows:
            parts.append(f"{_short(rows)} rows/s")
        if steps:
            left = datetime.timedelta(seconds=round((self._total - step) / steps))
            parts.append(f"ETA {left}")
        return "  ".join(parts)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _display(stream: TextIO) -> rich_progress.Progress:
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[text]}"),
        console=rich_console.Console(file=stream),
    )
