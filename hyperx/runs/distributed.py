"""Several processes, one job: how a process joins the others, and how it leaves.

All processes run the same command. They agree on what they compute because they compute
it together, over a mesh of all devices; the first one alone writes what people read.
"""

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from hyperx import sharding

logger = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT = 100
# Seconds in which a process that failed may end by itself.
_GRACE = 10.0

# How many processes a launcher started. JAX finds out the rest from the same launchers.
COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
# Set by JAX itself where it finds the chips of a Cloud TPU.
ON_TPU = ("TPU_ML_PLATFORM", "JAX")


@contextlib.contextmanager
def job(
    mode: str = "auto",
    *,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_timeout: int = HEARTBEAT_TIMEOUT,
    orderly: bool = False,
) -> Iterator[None]:
    """Within it, this process is one of a job; enter it before devices are asked for.

    A process that fails within leaves without waiting for the others: they may be
    waiting for it. They end when they notice, after `heartbeat_timeout` at the latest.

    Args:
        mode: ``auto`` joins the other processes if something says that there are some:
            the arguments below, the environment variables ``JAX_COORDINATOR_ADDRESS``,
            ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID``, Slurm, Open MPI, or a Cloud
            TPU. ``off`` does not.
        coordinator_address: host and port of process 0.
        num_processes: in the job.
        process_id: of this process, from 0.
        heartbeat_timeout: seconds without a sign of life until a process counts as
            dead, which ends all others.
        orderly: whether the body asks JAX for SIGTERM, as the training loop does. If
            not, SIGTERM ends this process.

    Raises:
        ConnectionError: if the others cannot be joined, or are lost within.
    """
    explicit = {
        "coordinator_address": _given("COORDINATOR_ADDRESS", coordinator_address, str),
        "num_processes": _given("NUM_PROCESSES", num_processes, int),
        "process_id": _given("PROCESS_ID", process_id, int),
    }
    explicit = {name: value for name, value in explicit.items() if value is not None}
    if mode == "off" or not (explicit or launched(os.environ)):
        yield
        return
    _join(explicit, heartbeat_timeout)
    if not orderly or jax.process_count() == 1:
        # JAX has taken SIGTERM to tell whoever asks it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    except BaseException as error:
        if jax.process_count() > 1:
            _leave()
            if isinstance(error, jax.errors.JaxRuntimeError):
                raise ConnectionError(_lost(error)) from error
        raise


def launched(environment: Mapping[str, str]) -> bool:
    """Whether the environment is one in which JAX finds the other processes."""
    several = any(int(environment.get(name, 1)) > 1 for name in COUNTS)
    return several or environment.get(ON_TPU[0]) == ON_TPU[1]


def first() -> bool:
    """Whether this is the process that writes for all."""
    return jax.process_index() == 0


def agreed(value: Any) -> Any:
    """What the first process says, in all of them, if they might see different things.

    Args:
        value: anything that JSON can hold.
    """
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = np.resize(text, length)  # Of the others, only the size counts.
    told = np.asarray(multihost_utils.broadcast_one_to_all(text), np.uint8)
    return json.loads(told.tobytes())


def share(groups: int, mesh: Mesh) -> list[int]:
    """Which of the `groups` of a batch the devices of this process hold."""
    where = NamedSharding(mesh, sharding.spec(("task",)))
    held = where.addressable_devices_indices_map((groups,)).values()
    return np.unique([np.arange(groups)[index] for index in held]).tolist()


def _given(name: str, flag: str | int | None, kind: type) -> str | int | None:
    """A flag, or else its environment variable."""
    if flag is not None or (text := os.environ.get(f"JAX_{name}")) is None:
        return flag
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"expected a number in JAX_{name}, got {text!r}") from None


def _join(explicit: Mapping[str, str | int], heartbeat_timeout: int) -> None:
    detection = "deactivate" if len(explicit) == 3 else None
    try:
        jax.distributed.initialize(
            **explicit,
            cluster_detection_method=detection,
            heartbeat_timeout_seconds=heartbeat_timeout,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConnectionError(
            f"expected to join the other processes of a job, got: {error}. For this "
            "process alone: --distributed=off"
        ) from error
    if first():
        logger.info("%d processes, %d devices", jax.process_count(), jax.device_count())
    else:  # The first one tells the news of all; warnings are of one's own.
        logging.getLogger("hyperx").setLevel(logging.WARNING)


def _leave() -> None:
    """Sees to it that this process ends, with exit code 1, whatever still waits.

    Threads of a save and JAX's own farewell wait for processes that may be gone, or
    that may be waiting for this one.
    """
    timer = threading.Timer(_GRACE, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _lost(error: Exception) -> str:
    what = (str(error).splitlines() or [""])[0][:300]
    return (
        f"process {jax.process_index()} of {jax.process_count()} failed in what all "
        f"compute together: {what}. If another process ended before, its own output "
        "says why; the same command continues at the last checkpoint"
    )
