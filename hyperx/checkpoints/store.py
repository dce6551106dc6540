"""The checkpoints of a run: a directory that survives whatever happens to the run.

A checkpoint is a directory named by its step. Orbax fills it under another name, marks
it as committed and renames it, so that one cut short is never taken for a whole one.
Inside, the state is nested dicts of arrays named by their path in the pytree, whatever
its classes.

Where a run has several processes, all of them call `save`, `wait` and what restores, in
the same order: every process writes and reads the parts that its devices hold.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from flax.traverse_util import unflatten_dict
from orbax.checkpoint import v1 as ocp

from hyperx.checkpoints import checkpoint, checksums, quiet

quiet.drop_messages()


class Store:
    """The checkpoints in a directory.

    A context manager: leaving it waits for the last save.

    Attributes:
        directory: where the checkpoints lie, a path or the address of an object store
            such as ``gs://bucket/folder``; created by the first save.
        save_period: steps between checkpoints; see `due`.
        keep: how many of the newest checkpoints stay.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        save_period: int = 1000,
        keep: int = 2,
    ) -> None:
        if save_period < 1 or keep < 1:
            raise ValueError(
                f"expected save_period and keep of at least 1, got {save_period} and "
                f"{keep}"
            )
        path = epath.Path(directory)
        # `resolve` takes the address of an object store for a relative path.
        self.directory = path if path.is_absolute() else path.resolve()
        self.save_period = save_period
        self.keep = keep
        self._writer: ocp.training.Checkpointer | None = None
        self._saving: int | None = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and jax.process_count() > 1:
            return  # The save in progress may be waiting for a process that is gone.
        self.close()

    def due(self, step: int) -> bool:
        """Whether a checkpoint belongs at `step`."""
        return step % self.save_period == 0

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, in order."""
        return checkpoint.steps(self.directory)

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: Any) -> None:
        """Saves `state` in the background; its buffers may be donated at once.

        Args:
            step: names the checkpoint.
            state: a pytree of arrays.

        Raises:
            ValueError: if there is a checkpoint of that step.
            OSError: if this or the previous save failed; see `wait`.
        """
        self.wait()
        if step in self.steps():
            raise ValueError(f"expected a new step, got {step}: {self._there()}")
        flat = checkpoint.flatten(state)
        custom = {"checksums": checksums.of(flat)}
        self._saving = step
        with self._reported():
            self._open().save_async(
                step, unflatten_dict(flat, sep="/"), custom_metadata=custom, force=True
            )

    def wait(self) -> None:
        """Waits until nothing is being saved.

        Raises:
            OSError: if saving failed, as when the disk is full. Checkpoints that were
                complete stay so, and the next save starts afresh.
        """
        with self._reported():
            if self._writer is not None:
                self._writer.wait()
        self._saving = None

    def close(self) -> None:
        """Waits, and releases the directory."""
        try:
            self.wait()
        finally:
            self._abandon()

    def checkpoint(self, step: int | None = None) -> checkpoint.Checkpoint:
        """A complete checkpoint, to look into and to restore from.

        Args:
            step: of it; the newest if None.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise FileNotFoundError(
                f"expected a checkpoint in {self.directory}, found none"
            )
        return checkpoint.Checkpoint(self.directory, step)

    def restore(self, step: int, abstract: Any = None) -> Any:
        """Restores a state; see `hyperx.checkpoints.checkpoint.Checkpoint.restore`."""
        return self.checkpoint(step).restore(abstract)

    def _open(self) -> ocp.training.Checkpointer:
        if self._writer is None:
            self._writer = ocp.training.Checkpointer(
                self.directory,
                preservation_policy=ocp.training.preservation_policies.LatestN(
                    self.keep
                ),
                cleanup_tmp_directories=True,  # of runs that were killed
            )
        return self._writer

    def _abandon(self) -> None:
        writer, self._writer, self._saving = self._writer, None, None
        if writer is not None:
            writer.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turns a failure of the save in progress into one clear error."""
        cause = None
        try:
            yield
        except Exception as error:
            cause = quiet.cause(error)
        if cause is not None:
            step = self._saving
            if jax.process_count() == 1:
                with contextlib.suppress(Exception):  # it reports the same again
                    self._abandon()
            raise OSError(
                f"expected to write checkpoint {step} to {self.directory}, got: "
                f"{cause}; {self._there()}"
            )

    def _there(self) -> str:
        return f"complete checkpoints there: {self.steps() or 'none'}"


def load_params(
    directory: str | os.PathLike[str], step: int | None = None, abstract: Any = None
) -> Any:
    """Loads the parameters of a checkpoint and nothing else of it.

    Args:
        directory: of a `Store`.
        step: of the checkpoint; the newest if None.
        abstract: see `hyperx.checkpoints.checkpoint.Checkpoint.restore`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it does not fit or is damaged.
    """
    return Store(directory).checkpoint(step).restore_params(abstract)
