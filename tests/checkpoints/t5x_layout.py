"""Checkpoints as t5x writes them, by nothing but JSON, gzip, msgpack and Orbax."""

import gzip
import itertools
import json

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as orbax_v0
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig, abstract_parameters

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def plain(backbone):
    return ModelConfig(backbone=backbone, method=Plain())


def random_params(config, dtype="float32", seed=0):
    """Parameters of ours with values that a cast or a swap would not survive."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32).astype(dtype),
        abstract_parameters(config).shapes,
    )


def unrolled(params):
    """Parameters of ours by t5x's names, a layer's each."""
    tree = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        stack, layers, rest = path.partition("/layers/")
        if not layers or stack not in ("encoder", "decoder"):
            tree[path] = leaf
            continue
        tree |= {f"{stack}/layers_{i}/{rest}": leaf[i] for i in range(len(leaf))}
    return tree


def scanned(params):
    """As t5x's scanned network has them: layers on the second axis."""
    tree = {}
    for path, leaf in flatten_dict(params, sep="/").items():
        for stack in ("encoder", "decoder"):
            if path.startswith(f"{stack}/layers/"):
                path = path.replace("/layers/", f"/{stack}/")
                leaf = np.moveaxis(leaf, 0, 1)
        tree[path] = leaf
    return tree


def write_legacy(
    directory, tree, *, version=3, driver="file", old_path=False, inline=(), chunk=5
):
    """Writes t5x's own format.

    Args:
        directory: a new one.
        tree: arrays by name.
        version: 2 keeps bfloat16 as the integers of its bits.
        driver: of the key-value store that the checkpoint says it was written to.
        old_path: whether to say the path as TensorStore before 0.1.14 did.
        inline: names of arrays that lie in the msgpack file itself.
        chunk: largest side of a chunk.
    """
    directory.mkdir(parents=True)
    target = {}
    for name, array in tree.items():
        if version == 2 and array.dtype == BFLOAT16:
            array = array.view(np.uint16)
        if name in inline:
            target[name] = array
            continue
        folder = "target." + name.replace("/", ".")
        metadata = write_zarr(directory / folder, array, chunk)
        store, spec = {"driver": driver}, {}
        if driver == "gcs":
            store["bucket"] = "t5x-dummy-bucket"
        (spec if old_path else store)["path"] = f"{folder}/"
        spec |= {"driver": "zarr", "dtype": array.dtype.name, "kvstore": store}
        described = ("shape", "chunks", "compressor")
        spec["metadata"] = {key: metadata[key] for key in described}
        target[name] = spec
    slots = {name: {"m": np.zeros(1, np.float32)} for name in tree}
    optimizer = {
        "target": unflatten_dict(target, sep="/"),
        "state": {
            "step": np.asarray(7, np.int32),
            "param_states": unflatten_dict(slots, sep="/") | {"hole": None},
        },
    }
    write_msgpack(directory, {"version": version, "optimizer": optimizer})


def write_msgpack(directory, content):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "checkpoint").write_bytes(serialization.msgpack_serialize(content))


def write_zarr(folder, array, chunk):
    """Writes a zarr array of version 2; returns its metadata."""
    folder.mkdir()
    sides = [min(chunk, size) for size in array.shape]
    dtype = "bfloat16" if array.dtype == BFLOAT16 else array.dtype.str
    metadata = {
        "zarr_format": 2,
        "shape": list(array.shape),
        "chunks": sides,
        "dtype": dtype,
        "compressor": {"id": "gzip", "level": 1},
        "fill_value": None,
        "filters": None,
        "order": "C",
    }
    (folder / ".zarray").write_text(json.dumps(metadata))
    for place in _places(array.shape, sides):
        part = np.zeros(sides, array.dtype)
        at = [slice(i * n, (i + 1) * n) for i, n in zip(place, sides, strict=True)]
        found = array[tuple(at)]
        part[tuple(slice(size) for size in found.shape)] = found
        name = ".".join(map(str, place))
        (folder / name).write_bytes(gzip.compress(part.tobytes()))
    return metadata


def read_zarr(folder):
    """Reads a zarr array of version 2 that gzip compressed."""
    metadata = json.loads((folder / ".zarray").read_text())
    assert metadata["compressor"]["id"] == "gzip"
    name, sides = metadata["dtype"], metadata["chunks"]
    dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
    array = np.empty(metadata["shape"], dtype)
    for place in _places(array.shape, sides):
        data = gzip.decompress((folder / ".".join(map(str, place))).read_bytes())
        part = np.frombuffer(data, dtype).reshape(sides)
        at = [slice(i * n, (i + 1) * n) for i, n in zip(place, sides, strict=True)]
        hole = array[tuple(at)]
        hole[...] = part[tuple(slice(size) for size in hole.shape)]
    return array


def _places(shape, sides):
    counts = [range(-(-size // n)) for size, n in zip(shape, sides, strict=True)]
    return itertools.product(*counts)


class _DataHandler(orbax_v0.CheckpointHandler):
    def save(self, directory, args):
        (directory / "train_ds-000-of-001").write_bytes(b"position")

    def restore(self, directory, args):
        raise NotImplementedError


@orbax_v0.args.register_with_handler(_DataHandler, for_save=True, for_restore=True)
class _DataArgs(orbax_v0.args.CheckpointArgs):
    pass


def write_orbax(directory, tree, *, ocdbt=True):
    """Writes what t5x does through Orbax: items `state` and `dataset`."""
    step = 7
    directory.mkdir(parents=True)
    state = {
        "target": unflatten_dict(tree, sep="/"),
        "state": {"step": np.int32(step), "param_states": {"m": None, "empty": {}}},
    }
    handlers = {
        "state": orbax_v0.PyTreeCheckpointHandler(use_ocdbt=ocdbt),
        "dataset": _DataHandler(),
    }
    options = orbax_v0.CheckpointManagerOptions(step_prefix="checkpoint")
    with orbax_v0.CheckpointManager(
        directory, options=options, item_handlers=handlers
    ) as manager:
        items = {"state": orbax_v0.args.PyTreeSave(state), "dataset": _DataArgs()}
        manager.save(step, args=orbax_v0.args.Composite(**items))
    return directory / f"checkpoint_{step}"
