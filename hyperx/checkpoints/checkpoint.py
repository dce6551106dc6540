"""One checkpoint: what it holds, and the way back onto devices.

Every array is read straight to where it belongs, so that no process holds more of it
than its devices do. Orbax's format does not notice a flipped bit in the data, hence
checksums.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint import v1 as ocp

from hyperx.checkpoints import checksums, quiet

_COMMITTED = "commit_success.txt"


def steps(directory: epath.Path) -> list[int]:
    """Steps of the complete checkpoints in a directory, in order."""
    if not directory.exists():
        return []
    return sorted(
        int(path.name)
        for path in directory.iterdir()
        if path.name.isdigit() and (path / _COMMITTED).exists()
    )


class Checkpoint:
    """A complete checkpoint in a directory of them.

    Args:
        directory: where it lies.
        step: names it.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
    """

    def __init__(self, directory: epath.Path, step: int) -> None:
        self._directory, self._step = directory, step
        if step not in (there := steps(directory)):
            raise FileNotFoundError(
                f"expected checkpoint {step} in {directory}; complete checkpoints "
                f"there: {there or 'none'}"
            )

    @property
    def digest(self) -> str:
        """Text that tells its arrays from those of other checkpoints.

        Raises:
            ValueError: if the checkpoint is damaged.
        """
        sums = self._description.custom_metadata["checksums"]
        text = json.dumps(sums, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @functools.cached_property
    def shapes(self) -> dict[str, Any]:
        """The state as nested dicts of `jax.ShapeDtypeStruct`; no array is read.

        Raises:
            ValueError: if the checkpoint is damaged.
        """
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, np.dtype(leaf.dtype)),
            self._description.metadata,
        )

    def restore(self, abstract: Any = None) -> Any:
        """Restores the state, perhaps onto another mesh than it was saved from.

        Args:
            abstract: the pytree of the state with a `jax.ShapeDtypeStruct` per leaf;
                leaves without sharding go to the first device. None restores nested
                dicts of numpy arrays.

        Raises:
            ValueError: if the state has other leaves, shapes or dtypes, or if the
                checkpoint is damaged.
        """
        stored = _flat(self.shapes)
        if abstract is None:
            return unflatten_dict(self._load(_on_host(stored)), sep="/")
        wanted = flatten(abstract)
        self._check_equal(wanted, stored)
        loaded = self._load({name: _placed(leaf) for name, leaf in wanted.items()})
        return jax.tree.unflatten(
            jax.tree.structure(abstract), [loaded[name] for name in wanted]
        )

    def restore_params(self, abstract: Any = None) -> Any:
        """As `restore`, for the ``params`` of the state; reads nothing else."""
        stored = _flat({"params": self.shapes["params"]})
        if abstract is None:
            wanted = _on_host(stored)
        else:
            wanted = flatten({"params": abstract})
            self._check_equal(wanted, stored)
            wanted = {name: _placed(leaf) for name, leaf in wanted.items()}
        return unflatten_dict(self._load(wanted), sep="/")["params"]

    @functools.cached_property
    def _description(self) -> Any:
        """What Orbax keeps about a checkpoint besides its arrays."""
        with self._damage_reported():
            described = ocp.metadata(self._directory / str(self._step))
            if not described.metadata or not described.custom_metadata:
                raise ValueError("unreadable metadata")
            return described

    def _check_equal(
        self, expected: Mapping[str, Any], stored: Mapping[str, Any]
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
                f"checkpoint {self._step} in {self._directory} does not fit: "
                + "; ".join(problems)
            )

    def _load(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Loads the wanted leaves among those stored, and verifies them."""
        sums = self._description.custom_metadata["checksums"]
        abstract = {name: wanted.get(name, ...) for name in _flat(self.shapes)}
        with self._damage_reported():
            loaded = ocp.load(
                self._directory / str(self._step), unflatten_dict(abstract, sep="/")
            )
            loaded = {name: _flat(loaded)[name] for name in wanted}
            for name, value in checksums.of(loaded).items():
                if value != sums[name]:
                    raise ValueError(f"checksum of {name}: {sums[name]}, got {value}")
            return loaded

    @contextlib.contextmanager
    def _damage_reported(self) -> Iterator[None]:
        """Turns whatever a damaged checkpoint raises into one clear error."""
        with quiet.failure() as failure:
            yield
        if failure:
            others = [step for step in steps(self._directory) if step != self._step]
            raise ValueError(
                f"expected checkpoint {self._step} in {self._directory} to be intact, "
                f"got: {failure[0]}. Other checkpoints there: {others or 'none'}; move "
                f"{self._step} away to continue from the newest of them"
            )


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves of a pytree by their path, joined by ``/``, whatever its classes."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")


def _kind(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"


def _on_host(shapes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}


def _placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if leaf.sharding is not None:
        return leaf
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
