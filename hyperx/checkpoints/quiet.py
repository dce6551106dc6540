"""Keeps Orbax off the terminal: what it has to say, an error of ours repeats."""

import contextlib
import errno
import gc
import logging
import sys
import warnings
from collections.abc import Iterator

import jax

_ELSEWHERE = (
    MemoryError,
    jax.errors.JaxRuntimeError,  # for want of memory, say
    PermissionError,
    ConnectionError,
    TimeoutError,
)
# Too many open files, a file system that is gone.
_UNREACHABLE = (errno.EMFILE, errno.ENFILE, errno.ESTALE)
# What TensorStore says of object stores.
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED")


def drop_messages() -> None:
    """Drops Orbax's log, which narrates every save and repeats every failure."""
    for name in (None, "absl"):
        logging.getLogger(name).addFilter(_of_others)


def _of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def cause(error: BaseException) -> str:
    """The first line of the error that `error` came from."""
    error = _origin(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def _origin(error: BaseException) -> BaseException:
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _says_nothing(error: BaseException) -> bool:
    """Whether memory or a way to the files was missing: they may be as they should."""
    return (
        isinstance(error, _ELSEWHERE)
        or (isinstance(error, OSError) and error.errno in _UNREACHABLE)
        or any(f"{code}:" in str(error) for code in _REFUSED)
    )


@contextlib.contextmanager
def failure() -> Iterator[list[str]]:
    """Runs its body in silence; yields a list that receives what was wrong.

    When reading fails, Orbax's abandoned tasks go on complaining, through warnings,
    logs and hooks, until they are collected.

    Raises:
        Exception: what came first, if memory or access was missing.
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
            except Exception as error:
                origin = _origin(error)
                if _says_nothing(origin):
                    raise origin from None
                received.append(cause(error))
            if received:
                gc.collect()
    finally:
        logging.disable(level)
        sys.unraisablehook, sys.excepthook = hooks
