"""Checkpoints of t5x: all forms are read to the bit, and to where they belong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import t5x_layout as layout
from conftest import TINY
from flax.traverse_util import flatten_dict

from hyperx import config as config_lib
from hyperx import sharding
from hyperx.checkpoints.t5x import legacy, names, reading, sizes
from hyperx.inference.predictor import Predictor
from hyperx.model import abstract_parameters

OLD = dataclasses.replace(TINY, mlp_activations=("relu",), tie_embeddings=True)

# One layer of each stack, as t5x's documentation and converters have them.
ATTENTION = ("query", "key", "value", "out")
LAYERS = {
    "encoder/layers_0": ("attention", "pre_attention_layer_norm", "pre_mlp_layer_norm"),
    "decoder/layers_0": (
        "self_attention",
        "encoder_decoder_attention",
        "pre_self_attention_layer_norm",
        "pre_cross_attention_layer_norm",
        "pre_mlp_layer_norm",
    ),
}


def documented(mlp):
    for place, parts in LAYERS.items():
        for part in parts:
            if part.endswith("norm"):
                yield f"{place}/{part}/scale"
            else:
                yield from (f"{place}/{part}/{name}/kernel" for name in ATTENTION)
        yield from (f"{place}/mlp/{name}/kernel" for name in (*mlp, "wo"))
    yield "token_embedder/embedding"
    for stack in ("encoder", "decoder"):
        yield f"{stack}/relpos_bias/rel_embedding"
        yield f"{stack}/{stack}_norm/scale"


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (TINY, {*documented(("wi_0", "wi_1")), "decoder/logits_dense/kernel"}),
        (OLD, {*documented(("wi",))}),
    ],
)
def test_names_are_those_documented(backbone, expected):
    one = dataclasses.replace(backbone, num_encoder_layers=1, num_decoder_layers=1)
    shapes = flatten_dict(abstract_parameters(layout.plain(one)).shapes, sep="/")
    origins = [names.origin(k, v.shape, scanned=False) for k, v in shapes.items()]
    assert sorted(n for o in origins for n in o.names) == sorted(expected)


def read(directory, backbone, dtype="float32", mesh=None):
    """Reads a checkpoint; its parameters, flat, as numpy arrays."""
    parameters = abstract_parameters(layout.plain(backbone))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)),
        parameters.shapes,
    )
    if mesh is not None:
        shapes = sharding.declared(shapes, parameters.axes, mesh)
    return reading.read(reading.open_checkpoint(directory), shapes)


def assert_same_bits(left, right):
    left, right = flatten_dict(left, sep="/"), flatten_dict(right, sep="/")
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert np.asarray(array).tobytes() == np.asarray(right[name]).tobytes(), name


FORMS = [
    {},
    {"version": 2},
    {"driver": "gfile"},
    {"driver": "gcs"},
    {"old_path": True},
    {"driver": "gcs", "old_path": True},
    {"inline": ("encoder/encoder_norm/scale", "token_embedder/embedding")},
    {"chunk": 1000},
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_reads_every_legacy_form(tmp_path, form, dtype):
    params = layout.random_params(layout.plain(TINY), dtype)
    layout.write_legacy(tmp_path / "checkpoint_7", layout.unrolled(params), **form)
    assert_same_bits(read(tmp_path / "checkpoint_7", TINY, dtype), params)


def test_inline_integers_of_version_2_are_bfloat16_too(tmp_path):
    params = layout.random_params(layout.plain(OLD), "bfloat16")
    tree = layout.unrolled(params)
    layout.write_legacy(tmp_path / "c", tree, version=2, inline=tree)
    widened = jax.tree.map(lambda array: array.astype(np.float32), params)
    assert_same_bits(read(tmp_path / "c", OLD), widened)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_reads_scanned_layers(tmp_path, dtype):
    params = layout.random_params(layout.plain(TINY), dtype)
    tree = layout.scanned(params)
    assert tree["decoder/decoder/mlp/wo/kernel"].shape == (48, 3, 32)
    assert tree["encoder/encoder/pre_mlp_layer_norm/scale"].shape == (32, 2)
    layout.write_legacy(tmp_path / "c", tree)
    assert_same_bits(read(tmp_path / "c", TINY, dtype), params)
    assert sizes.infer(reading.open_checkpoint(tmp_path / "c").shapes) == TINY


@pytest.mark.parametrize("arrange", [layout.unrolled, layout.scanned])
@pytest.mark.parametrize("ocdbt", [True, False])
def test_reads_orbax(tmp_path, ocdbt, arrange, mesh_of_eight):
    params = layout.random_params(layout.plain(TINY), "bfloat16")
    path = layout.write_orbax(tmp_path / "run", arrange(params), ocdbt=ocdbt)
    assert_same_bits(read(path, TINY, "bfloat16", mesh_of_eight), params)
    widened = jax.tree.map(lambda array: array.astype(np.float32), params)
    assert_same_bits(read(path, TINY), widened)
    assert sizes.infer(reading.open_checkpoint(path).shapes) == TINY


@pytest.fixture
def mesh_of_eight():
    return sharding.make_mesh(data=2, fsdp=2, model=2)


@pytest.mark.parametrize("arrange", [layout.unrolled, layout.scanned])
def test_one_shard_is_in_memory_at_a_time(
    tmp_path, monkeypatch, mesh_of_eight, arrange
):
    params = layout.random_params(layout.plain(TINY))
    tree = arrange(params)
    layout.write_legacy(tmp_path / "c", tree)
    parts = []

    def counted(array, index, read_part=legacy.read_part):
        part = read_part(array, index)
        parts.append(part.nbytes)
        return part

    monkeypatch.setattr(legacy, "read_part", counted)
    loaded = read(tmp_path / "c", TINY, mesh=mesh_of_eight)
    assert_same_bits(loaded, params)
    parameters = abstract_parameters(layout.plain(TINY))
    expected = sharding.declared(parameters.shapes, parameters.axes, mesh_of_eight)
    whole, largest = 0, 0
    for path, leaf in flatten_dict(expected, sep="/").items():
        array = flatten_dict(loaded, sep="/")[path]
        assert array.sharding.is_equivalent_to(leaf.sharding, array.ndim), path
        largest = max(largest, array.addressable_shards[0].data.nbytes)
        whole += array.nbytes
    # No part is larger than the largest shard, and none is read for every copy of it.
    assert max(parts) <= largest < whole / 8
    assert sum(parts) == whole


def logits(config, params):
    tokens = np.random.default_rng(0).integers(2, 64, (3, 9)).astype(np.int32)
    tokens[1, 4:] = 0
    predictor = Predictor(config, params, None, {"prompt": 16, "targets": 16})
    return predictor.logits(tokens, tokens[:, :5])


@pytest.mark.parametrize("backbone", [TINY, OLD])
def test_logits_are_those_of_the_source(tmp_path, backbone):
    config = layout.plain(backbone)
    params = layout.random_params(config)
    layout.write_legacy(tmp_path / "c", layout.unrolled(params))
    loaded = read(tmp_path / "c", backbone)
    np.testing.assert_array_equal(logits(config, loaded), logits(config, params))
    assert np.std(logits(config, params)) > 0.1


PUBLISHED = [
    (make, size)
    for make in (config_lib.t5_1_1, config_lib.t5_1_0)
    for size in ("small", "base", "large", "xl", "xxl")
]


@pytest.mark.parametrize(
    ("make", "size"), PUBLISHED, ids=lambda v: getattr(v, "__name__", v)
)
def test_sizes_of_published_models_show_in_their_shapes(make, size):
    shapes = abstract_parameters(layout.plain(make(size))).shapes
    origins = [
        names.origin(path, leaf.shape, scanned=False)
        for path, leaf in flatten_dict(shapes, sep="/").items()
    ]
    theirs = {
        name: jax.ShapeDtypeStruct(origin.shape, jnp.float32)
        for origin in origins
        for name in origin.names
    }
    assert sizes.infer(theirs) == make(size)


def test_the_place_on_google_cloud_storage_is_the_checkpoint_s():
    from etils import epath

    path = epath.Path("gs://bucket/a/checkpoint_7/target.x")
    assert legacy.kvstore(path) == {
        "driver": "gcs",
        "bucket": "bucket",
        "path": "a/checkpoint_7/target.x/",
    }
