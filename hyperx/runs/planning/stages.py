"""What is being done when it takes minutes: a clock on a terminal, lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich import console as rich_console
from rich import progress as rich_progress


@contextlib.contextmanager
def stage(text: str) -> Iterator[Callable[[], float]]:
    """Tells on standard error what is done within it.

    Args:
        text: what is done.

    Yields:
        A function that returns the seconds it has taken.
    """
    console = rich_console.Console(stderr=True, highlight=False)
    start = time.perf_counter()

    def seconds() -> float:
        return time.perf_counter() - start

    if console.is_terminal:
        with rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}"),
            rich_progress.TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as display:
            display.add_task(text, total=None)
            yield seconds
    else:
        console.print(f"{text} ...", soft_wrap=True)
        yield seconds
    console.print(f"{text}: {seconds():.1f} s", soft_wrap=True)
