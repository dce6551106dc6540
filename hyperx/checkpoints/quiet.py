"""Keeps Orbax off the terminal: what it has to say, an error of ours repeats."""

import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Iterator

import jax


def drop_messages() -> None:
    """Drops Orbax's log, which narrates every save and repeats every failure."""
    for name in (None, "absl"):
        logging.getLogger(name).addFilter(_of_others)


def _of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def cause(error: BaseException) -> str:
    """The first line of the error that `error` came from."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


@contextlib.contextmanager
def failure() -> Iterator[list[str]]:
    """Runs its body in silence; yields a list that receives what was wrong.

    When reading fails, Orbax's abandoned tasks go on complaining, through warnings,
    logs and hooks, until they are collected.
    """
    received: list[str] = []
    hooks, level = (sys.unraisablehook, sys.excepthook), logging.root.manager.disable
    sys.unraisablehook = sys.excepthook = lambda *_: None
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield received
            except (MemoryError, jax.errors.JaxRuntimeError):
                raise  # for want of memory, say
            except Exception as error:
                received.append(cause(error))
            if received:
                gc.collect()
    finally:
        logging.disable(level)
        sys.unraisablehook, sys.excepthook = hooks
