"""Reads a checkpoint of t5x into parameters of ours, each where it shall lie."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding, SingleDeviceSharding

from hyperx.checkpoints.t5x import legacy, names, orbax

logger = logging.getLogger(__name__)

Checkpoint = legacy.Legacy | orbax.Orbax


def open_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint of t5x and reads no array of it.

    Args:
        directory: one of those that t5x calls ``checkpoint_<step>``.

    Raises:
        FileNotFoundError: if it is not one.
        ValueError: if it is damaged or of an unknown version.
    """
    directory = epath.Path(directory)
    if (directory / legacy.FILE).is_file():
        return legacy.Legacy(directory)
    if (directory / orbax.ITEM).is_dir():
        return orbax.Orbax(directory)
    inside = []
    if directory.is_dir():
        inside = sorted(str(path) for path in directory.glob("checkpoint_*"))
    raise FileNotFoundError(
        f"expected a t5x checkpoint in {directory}: a file {legacy.FILE} or a folder "
        f"{orbax.ITEM}, found neither"
        + (f"; give one of {inside[-5:]} instead" if inside else "")
    )


def read(
    checkpoint: Checkpoint,
    abstract: Any,
    *,
    backbone_only: bool = False,
    progress: Callable[[int], object] = lambda count: None,
) -> Any:
    """Reads parameters; of each, one device's part is in this memory at a time.

    Args:
        checkpoint: from `open_checkpoint`.
        abstract: the parameters of ours, a `jax.ShapeDtypeStruct` per leaf; without a
            sharding it goes to the first device. Values are cast to its dtype.
        backbone_only: whether to leave out parameters that `abstract` lacks.
        progress: is told the bytes of every parameter when it is there.

    Returns:
        `abstract` with arrays for leaves.

    Raises:
        ValueError: for parameters that are missing, left over, damaged or of another
            shape.
    """
    names.check_biases(checkpoint.shapes)
    scanned = names.is_scanned(checkpoint.shapes)
    wanted = flatten_dict(abstract, sep="/")
    origins = {
        path: names.origin(path, leaf.shape, scanned=scanned)
        for path, leaf in wanted.items()
    }
    _check(checkpoint, origins, backbone_only)
    params = {}
    for path, leaf in wanted.items():
        params[path] = _load(checkpoint, origins[path], leaf)
        progress(params[path].nbytes)
    return unflatten_dict(params, sep="/")


def _load(
    checkpoint: Checkpoint, origin: names.Origin, leaf: jax.ShapeDtypeStruct
) -> jax.Array:
    where = leaf.sharding or SingleDeviceSharding(jax.devices()[0])
    part = jax.ShapeDtypeStruct(
        origin.shape, leaf.dtype, sharding=origin.sharding(where)
    )
    loaded = checkpoint.load(dict.fromkeys(origin.names, part))
    return _joined([loaded[name] for name in origin.names], origin, where)


def _joined(
    parts: Sequence[jax.Array], origin: names.Origin, where: Sharding
) -> jax.Array:
    """Ours from theirs, on the devices that they are on."""
    if origin.stack:
        return jax.jit(_stacked, out_shardings=where)(parts)
    if origin.swap:
        return jax.jit(_swapped, out_shardings=where)(parts[0])
    return parts[0]


def _stacked(parts: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack(parts)


def _swapped(part: jax.Array) -> jax.Array:
    return jnp.swapaxes(part, 0, 1)


def _check(
    checkpoint: Checkpoint, origins: Mapping[str, names.Origin], backbone_only: bool
) -> None:
    """Checks that exactly the right parameters are there, before reading any."""
    shapes = checkpoint.shapes
    expected = {name: o.shape for o in origins.values() for name in o.names}
    missing = sorted(expected.keys() - shapes.keys())
    surplus = sorted(shapes.keys() - expected.keys())
    if surplus and backbone_only:
        logger.info("leaving out %d parameters: %s", len(surplus), surplus[:5])
        surplus = []
    wrong = [
        f"{name}: expected {shape}, got {shapes[name].shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name].shape != shape
    ]
    if missing or surplus or wrong:
        raise ValueError(
            f"the parameters in {checkpoint.directory} do not fit the model: missing "
            f"{missing[:5]} ({len(missing)}), not expected {surplus[:5]} "
            f"({len(surplus)}), of another shape {wrong[:5]} ({len(wrong)})"
        )
