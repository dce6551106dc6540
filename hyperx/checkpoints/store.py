"""Checkpoints of a run: the one module that knows Orbax.

A checkpoint is a directory named by its step. Orbax fills it under another name, marks
it as committed and renames it, so that one cut short is never taken for a whole one.
Inside, the state is nested dicts of arrays named by their path in the pytree, whatever
its classes. Orbax's format does not notice a flipped bit in the data, hence checksums.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint import v1 as ocp

from hyperx.checkpoints import checksums, quiet

_COMMITTED = "commit_success.txt"

quiet.drop_messages()


class Store:
    """The checkpoints in a directory.

    A context manager: leaving it waits for the last save.

    Attributes:
        directory: where the checkpoints lie; created by the first save.
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
        self.directory = epath.Path(directory).resolve()
        self.save_period = save_period
        self.keep = keep
        self._writer: ocp.training.Checkpointer | None = None
        self._saving: int | None = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def due(self, step: int) -> bool:
        """Whether a checkpoint belongs at `step`."""
        return step % self.save_period == 0

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, in order."""
        if not self.directory.exists():
            return []
        return sorted(
            int(path.name)
            for path in self.directory.iterdir()
            if path.name.isdigit() and (path / _COMMITTED).exists()
        )

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def save(
        self, step: int, state: Any, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Saves `state` in the background; its buffers may be donated at once.

        Args:
            step: names the checkpoint.
            state: a pytree of arrays.
            metadata: anything that JSON can hold.

        Raises:
            ValueError: if there is a checkpoint of that step.
            OSError: if this or the previous save failed; see `wait`.
        """
        self.wait()
        if step in self.steps():
            raise ValueError(f"expected a new step, got {step}: {self._there()}")
        flat = _flatten(state)
        custom = {"checksums": checksums.of(flat), "metadata": dict(metadata or {})}
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

    def restore(self, step: int, abstract: Any) -> Any:
        """Restores a state, perhaps onto another mesh than it was saved from.

        Args:
            step: of a complete checkpoint.
            abstract: the pytree of the state with a `jax.ShapeDtypeStruct` per leaf;
                leaves without sharding go to the first device.

        Raises:
            FileNotFoundError: if there is no such checkpoint.
            ValueError: if the state has other leaves, shapes or dtypes, or if the
                checkpoint is damaged.
        """
        stored = self._stored(step)
        wanted = _flatten(abstract)
        self._check_equal(step, wanted, stored)
        loaded = self._load(step, stored, {k: _placed(v) for k, v in wanted.items()})
        return jax.tree.unflatten(
            jax.tree.structure(abstract), [loaded[name] for name in wanted]
        )

    def restore_params(self, step: int, abstract: Any = None) -> Any:
        """Restores the ``params`` of a state and reads nothing else.

        Args:
            step: of a complete checkpoint.
            abstract: as for `restore`, for the parameters alone; None restores nested
                dicts of numpy arrays.

        Raises:
            FileNotFoundError, ValueError: as `restore`.
        """
        stored = self._stored(step)
        params = {k: v for k, v in stored.items() if k.split("/")[0] == "params"}
        if abstract is None:
            wanted = {k: np.empty(v.shape, v.dtype) for k, v in params.items()}
        else:
            wanted = _flatten({"params": abstract})
            self._check_equal(step, wanted, params)
            wanted = {name: _placed(leaf) for name, leaf in wanted.items()}
        loaded = self._load(step, stored, wanted)
        return unflatten_dict(loaded, sep="/")["params"]

    def metadata(self, step: int) -> dict[str, Any]:
        """The `metadata` that was saved with a checkpoint.

        Raises:
            FileNotFoundError, ValueError: as `restore`.
        """
        return self._description(step).custom_metadata["metadata"]

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
            with contextlib.suppress(Exception):  # it reports the same failure again
                self._abandon()
            raise OSError(
                f"expected to write checkpoint {step} to {self.directory}, got: "
                f"{cause}; {self._there()}"
            )

    def _there(self) -> str:
        return f"complete checkpoints there: {self.steps() or 'none'}"

    def _description(self, step: int) -> Any:
        """What Orbax keeps about a checkpoint besides its arrays."""
        if step not in self.steps():
            raise FileNotFoundError(
                f"expected checkpoint {step} in {self.directory}; {self._there()}"
            )
        with self._damage_reported(step):
            described = ocp.metadata(self.directory / str(step))
            if not described.metadata or not described.custom_metadata:
                raise ValueError("unreadable metadata")
            return described

    def _stored(self, step: int) -> dict[str, Any]:
        """Shape and dtype of every leaf of a checkpoint."""
        return flatten_dict(self._description(step).metadata, sep="/")

    def _check_equal(
        self, step: int, expected: Mapping[str, Any], stored: Mapping[str, Any]
    ) -> None:
        missing = sorted(expected.keys() - stored.keys())
        surplus = sorted(stored.keys() - expected.keys())
        wrong = [
            f"{name}: expected {_kind(leaf)}, got {_kind(stored[name])}"
            for name, leaf in expected.items()
            if name in stored and _kind(leaf) != _kind(stored[name])
        ]
        problems = [
            f"{len(names)} {what}: {', '.join(names[:5])}{' ...' * (len(names) > 5)}"
            for what, names in (
                ("missing", missing),
                ("not expected", surplus),
                ("of another kind", wrong),
            )
            if names
        ]
        if problems:
            raise ValueError(
                f"checkpoint {step} in {self.directory} does not fit: "
                + "; ".join(problems)
            )

    def _load(
        self, step: int, stored: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Loads the wanted leaves among those stored, and verifies them."""
        sums = self._description(step).custom_metadata["checksums"]
        abstract = unflatten_dict(
            {name: wanted.get(name, ...) for name in stored}, sep="/"
        )
        with self._damage_reported(step):
            path = self.directory / str(step)
            loaded = flatten_dict(ocp.load(path, abstract), sep="/")
            loaded = {name: loaded[name] for name in wanted}
            for name, value in checksums.of(loaded).items():
                if value != sums[name]:
                    raise ValueError(f"checksum of {name}: {sums[name]}, got {value}")
            return loaded

    @contextlib.contextmanager
    def _damage_reported(self, step: int) -> Iterator[None]:
        """Turns whatever a damaged checkpoint raises into one clear error."""
        with quiet.failure() as failure:
            yield
        if failure:
            others = [other for other in self.steps() if other != step]
            raise ValueError(
                f"expected checkpoint {step} in {self.directory} to be intact, got: "
                f"{failure[0]}. Other checkpoints there: {others or 'none'}; move "
                f"{step} away to continue from the newest of them"
            )


def load_params(
    directory: str | os.PathLike[str], step: int | None = None, abstract: Any = None
) -> Any:
    """Loads the parameters of a checkpoint and nothing else of it.

    Args:
        directory: of a `Store`.
        step: of the checkpoint; the newest if None.
        abstract: see `Store.restore_params`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: see `Store.restore`.
    """
    store = Store(directory)
    step = store.latest() if step is None else step
    if step is None:
        raise FileNotFoundError(f"expected a checkpoint in {directory}, found none")
    return store.restore_params(step, abstract)


def _flatten(tree: Any) -> dict[str, Any]:
    """Leaves by their path, joined by ``/``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def _kind(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"


def _placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if leaf.sharding is not None:
        return leaf
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
