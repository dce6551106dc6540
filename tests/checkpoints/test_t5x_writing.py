"""What is written for t5x is what it documents, and comes back to the bit."""

import jax
import numpy as np
import pytest
import t5x_layout as layout
from conftest import TINY, tiny_hint
from flax import serialization
from flax.traverse_util import flatten_dict

from hyperx import sharding
from hyperx.checkpoints.t5x import reading, writing
from hyperx.model import abstract_parameters


def placed(params, config):
    """The same on eight devices."""
    mesh = sharding.make_mesh(data=2, fsdp=2, model=2)
    axes = abstract_parameters(config).axes
    return jax.tree.map(jax.device_put, params, sharding.tree_shardings(axes, mesh))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_files_are_those_documented(tmp_path, dtype):
    config = layout.plain(TINY)
    params = layout.random_params(config, dtype)
    wide = jax.tree.map(lambda array: array.astype(np.float32), params)
    written = []
    writing.write(
        tmp_path / "c",
        placed(wide, config),
        step=12,
        dtype=dtype,
        progress=written.append,
    )
    content = serialization.msgpack_restore((tmp_path / "c/checkpoint").read_bytes())
    assert content["version"] == 3
    assert content["optimizer"]["state"] == {"step": 12}
    expected = layout.unrolled(params)
    for name, array in expected.items():
        spec = content["optimizer"]["target"]
        for part in name.split("/"):
            spec = spec[part]
        path = "target." + name.replace("/", ".") + "/"
        assert spec["kvstore"] == {"driver": "file", "path": path}
        assert (spec["driver"], spec["dtype"]) == ("zarr", dtype)
        assert spec["metadata"]["shape"] == list(array.shape)
        stored = layout.read_zarr(tmp_path / "c" / path)
        assert stored.dtype == array.dtype
        assert stored.tobytes() == array.tobytes(), name
    assert len(list((tmp_path / "c").iterdir())) == len(expected) + 1
    assert sum(written) == sum(array.nbytes for array in expected.values())


def test_a_hypernetwork_keeps_its_names_and_stacks(tmp_path):
    config = tiny_hint()
    params = layout.random_params(config)
    writing.write(tmp_path / "c", params, step=1)
    checkpoint = reading.open_checkpoint(tmp_path / "c")
    names = {f"hypernetwork/{n}" for n in flatten_dict(params["hypernetwork"], sep="/")}
    assert names < checkpoint.shapes.keys()
    loaded = reading.read(checkpoint, abstract_parameters(config).shapes)
    for name, array in flatten_dict(params, sep="/").items():
        own = np.asarray(flatten_dict(loaded, sep="/")[name])
        assert own.tobytes() == array.tobytes(), name


def test_arrays_of_zeros_are_stored_too(tmp_path):
    # A chunk that is missing is an error to whoever reads it.
    params = {"hypernetwork": {"up": np.zeros((4, 6), np.float32)}}
    writing.write(tmp_path / "c", params, step=0)
    shapes = {"hypernetwork": {"up": jax.ShapeDtypeStruct((4, 6), np.float32)}}
    loaded = reading.read(reading.open_checkpoint(tmp_path / "c"), shapes)
    np.testing.assert_array_equal(loaded["hypernetwork"]["up"], 0)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), []),
        ((64,), [64]),
        ((2048, 2048), [2048, 2048]),
        ((4096, 4096), [2048, 2048]),
        ((32128, 4096), [2008, 2048]),
        ((10240, 4096), [1280, 2048]),
        ((2**22 + 1, 1), [2**21 + 1, 1]),
    ],
)
def test_chunks_are_at_most_16_mebibytes(shape, expected):
    assert writing.chunks(shape, 4) == expected
    assert 4 * np.prod(expected) <= 2**24
