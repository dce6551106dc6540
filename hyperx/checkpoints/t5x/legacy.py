"""t5x's own format: a msgpack file that points to zarr arrays.

The file holds ``{"version", "optimizer": {"target", "state"}}``; a leaf of `target` is
an array, or describes one of the zarr arrays beside the file as TensorStore does:
``{"driver", "dtype", "kvstore": {"driver", "path"}, "metadata"}``. Where it says that
the array lies is where it was written; only its name counts here.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from etils import epath
from flax import serialization

FILE = "checkpoint"
VERSIONS = (2, 3)
_FLOATS = ("float32", "bfloat16", "float16")
_DESCRIBED = {"driver", "kvstore", "metadata"}
# Decoded chunks that are kept for the shards that share them.
_CACHE_BYTES = 2**28


class Legacy:
    """The parameters of a checkpoint in t5x's own format.

    Attributes:
        directory: of the checkpoint.
        shapes: of all parameters, by their names joined by ``/``.
    """

    def __init__(self, directory: epath.Path) -> None:
        """Reads the file and the headers of the arrays.

        Raises:
            ValueError: for another format, and for arrays that are missing, that
                cannot be opened, or are not what the file says.
        """
        self.directory = directory
        content = _content(directory / FILE)
        self._version = content["version"]
        leaves = dict(_leaves(content["optimizer"]["target"]))
        self._arrays = _open(directory, leaves)
        self.shapes = {name: self._shape(name) for name in self._arrays}

    def load(self, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
        """Reads arrays to where they shall lie, one device's part after another.

        Args:
            wanted: dtypes and shardings by name.

        Raises:
            ValueError: if an array is damaged.
        """
        return {name: self._place(name, leaf) for name, leaf in wanted.items()}

    def _shape(self, name: str) -> jax.ShapeDtypeStruct:
        array = self._arrays[name]
        dtype = _dtype(array)
        # Version 2 has bits of bfloat16 that call themselves integers.
        if dtype == np.uint16 and self._version == 2:
            dtype = np.dtype(jnp.bfloat16)
        if dtype.name not in _FLOATS:
            raise ValueError(
                f"expected {name} in {self.directory} to be of {_FLOATS}, got "
                f"{dtype.name}"
            )
        return jax.ShapeDtypeStruct(tuple(array.shape), dtype)

    def _place(self, name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        devices = leaf.sharding.addressable_devices_indices_map(leaf.shape)
        copies: dict[str, list[tuple[jax.Device, tuple[slice, ...]]]] = {}
        for device, index in devices.items():
            copies.setdefault(str(index), []).append((device, index))
        parts = []
        for placed in copies.values():
            part = self._read(name, placed[0][1]).astype(leaf.dtype, copy=False)
            parts += jax.block_until_ready(
                [jax.device_put(part, device) for device, _ in placed]
            )
        return jax.make_array_from_single_device_arrays(
            leaf.shape, leaf.sharding, parts
        )

    def _read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        try:
            part = read_part(self._arrays[name], index)
        except ValueError as error:
            expected = self.shapes[name]
            raise ValueError(
                f"expected {expected.dtype}{list(expected.shape)} in {name} of "
                f"{self.directory}, got a damaged array: {_first_line(error)}"
            ) from error
        return part.view(self.shapes[name].dtype)


def read_part(
    array: np.ndarray | tensorstore.TensorStore, index: tuple[slice, ...]
) -> np.ndarray:
    """Reads one part of an array and nothing else of it."""
    part = array[index]
    return part.read().result() if isinstance(part, tensorstore.TensorStore) else part


def _content(file: epath.Path) -> dict[str, Any]:
    """The msgpack file, checked to be what t5x writes."""
    try:
        content = serialization.msgpack_restore(file.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"expected a msgpack file of t5x in {file}, got something else: "
            f"{type(error).__name__} {_first_line(error)}"
        ) from error
    version = content.get("version") if isinstance(content, dict) else None
    if version not in VERSIONS:
        raise ValueError(
            f"expected a t5x checkpoint of version {' or '.join(map(str, VERSIONS))} "
            f"in {file}, got {version!r}"
        )
    target = content.get("optimizer", {}).get("target")
    if not isinstance(target, dict):
        raise ValueError(f"expected optimizer/target in {file}, got {type(target)}")
    return content


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaves but empty ones: their paths, and arrays or descriptions of them."""
    for name, leaf in tree.items():
        path = f"{prefix}{name}"
        if isinstance(leaf, dict) and not leaf.keys() >= _DESCRIBED:
            yield from _leaves(leaf, f"{path}/")
        elif leaf is not None:
            yield path, leaf if isinstance(leaf, dict) else np.asarray(leaf)


def _open(
    directory: epath.Path, leaves: Mapping[str, Any]
) -> dict[str, np.ndarray | tensorstore.TensorStore]:
    """Opens the arrays that are described, all at once.

    Raises:
        ValueError: if any cannot be opened or has another shape than described.
    """
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
    opening = {
        name: tensorstore.open(_spec(directory, leaf), read=True, context=context)
        for name, leaf in leaves.items()
        if isinstance(leaf, dict)
    }
    arrays, broken = dict(leaves), []
    for name, future in opening.items():
        expected = tuple(leaves[name]["metadata"].get("shape", ()))
        try:
            arrays[name] = future.result()
            received = tuple(arrays[name].shape)
        except ValueError as error:
            received = _first_line(error).split(" [tensorstore_spec")[0]
        if received != expected:
            broken.append(f"{name}: expected {expected}, got {received}")
    if broken:
        raise ValueError(
            f"{len(broken)} arrays in {directory} are not what {FILE} says: "
            + "; ".join(broken[:5])
        )
    return arrays


def _spec(directory: epath.Path, leaf: Mapping[str, Any]) -> dict[str, Any]:
    """How to open an array where the checkpoint is now, with its own metadata."""
    name = leaf["kvstore"].get("path", leaf.get("path"))
    if not name or name.startswith("/") or ".." in pathlib.PurePosixPath(name).parts:
        raise ValueError(
            f"expected the name of an array beside {directory / FILE}, got {name!r}"
        )
    if leaf["driver"] != "zarr":
        raise ValueError(f"expected {name} to be a zarr array, got {leaf['driver']!r}")
    return {
        "driver": "zarr",
        "kvstore": kvstore(directory / name),
        # What was written has every chunk: one that is missing was lost.
        "fill_missing_data_reads": False,
    }


def kvstore(path: epath.Path) -> dict[str, str]:
    """Where TensorStore finds `path`."""
    text = str(path)
    if text.startswith("gs://"):
        bucket, _, inside = text.removeprefix("gs://").partition("/")
        return {"driver": "gcs", "bucket": bucket, "path": f"{inside}/"}
    return {"driver": "file", "path": f"{path.resolve()}/"}


def _dtype(array: np.ndarray | tensorstore.TensorStore) -> np.dtype:
    return getattr(array.dtype, "numpy_dtype", array.dtype)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:300]
