"""Writes parameters as t5x's unrolled network keeps them, in t5x's own format."""

import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorstore
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx.checkpoints.t5x import legacy, names

VERSION = 3
# A chunk is a file, and what one core compresses at a time.
_CHUNK_BYTES = 2**24


def write(
    directory: pathlib.Path,
    params: Any,
    *,
    step: int,
    dtype: str = "float32",
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes a checkpoint without optimizer, an array or a layer of one at a time.

    Args:
        directory: a new one.
        params: of ours, arrays of jax or numpy; a hypernetwork's keep their names.
        step: of the checkpoint.
        dtype: ``float32`` or ``bfloat16``.
        progress: is told the bytes of every array when it is written.
    """
    directory.mkdir(parents=True)
    target = {}
    for name, array in _arrays(params, dtype):
        target[name] = _write(directory, "target." + name.replace("/", "."), array)
        progress(array.nbytes)
    state = {"step": np.asarray(step, np.int32)}
    optimizer = {"target": unflatten_dict(target, sep="/"), "state": state}
    content = serialization.msgpack_serialize(
        {"version": VERSION, "optimizer": optimizer}
    )
    (directory / legacy.FILE).write_bytes(content)


def _arrays(params: Any, dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    """Their arrays: names, and values in this memory."""
    for path, leaf in flatten_dict(params, sep="/").items():
        origin = names.origin(path, leaf.shape, scanned=False)
        for number, name in enumerate(origin.names):
            part = leaf[number] if origin.stack else leaf
            yield name, np.asarray(part).astype(dtype, copy=False)


def _write(directory: pathlib.Path, name: str, array: np.ndarray) -> dict[str, Any]:
    """Writes one array; returns how the checkpoint describes it."""
    metadata = {
        "shape": list(array.shape),
        "chunks": chunks(array.shape, array.itemsize),
        "compressor": {"id": "gzip", "level": 1},
    }
    kind = {"driver": "zarr", "dtype": array.dtype.name, "metadata": metadata}
    opened = tensorstore.open(
        {
            **kind,
            "kvstore": {"driver": "file", "path": f"{directory.resolve()}/{name}/"},
            "store_data_equal_to_fill_value": True,
        },
        create=True,
    ).result()
    opened.write(array).result()
    return {**kind, "kvstore": {"driver": "file", "path": f"{name}/"}}


def chunks(shape: tuple[int, ...], itemsize: int) -> list[int]:
    """Chunks of at most 16 MiB, the longest axis halved until they are."""
    sizes = list(shape)
    while math.prod(sizes) * itemsize > _CHUNK_BYTES:
        longest = sizes.index(max(sizes))
        sizes[longest] = -(-sizes[longest] // 2)
    return sizes
