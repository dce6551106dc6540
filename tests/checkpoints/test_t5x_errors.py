"""What is wrong with a checkpoint of t5x is named, with what was expected there."""

import shutil

import numpy as np
import pytest
import t5x_layout as layout
from conftest import TINY
from flax import serialization

from hyperx.checkpoints.t5x import reading, sizes
from hyperx.model import abstract_parameters

KERNEL = "decoder/layers_2/mlp/wo/kernel"
FOLDER = "target." + KERNEL.replace("/", ".")


@pytest.fixture
def tree():
    return layout.unrolled(layout.random_params(layout.plain(TINY)))


@pytest.fixture
def written(tmp_path, tree):
    layout.write_legacy(tmp_path / "checkpoint_7", tree)
    return tmp_path / "checkpoint_7"


def read(directory, **options):
    shapes = abstract_parameters(layout.plain(TINY)).shapes
    return reading.read(reading.open_checkpoint(directory), shapes, **options)


def truncate(folder):
    chunk = folder / "3.2"
    chunk.write_bytes(chunk.read_bytes()[:20])


def lose(folder):
    (folder / "3.2").unlink()


@pytest.mark.parametrize(
    ("damage", "cause"), [(truncate, "Not enough data"), (lose, "chunk.*missing")]
)
def test_a_damaged_chunk_is_named(written, damage, cause):
    damage(written / FOLDER)
    expected = rf"expected float32\[48, 32\] in {KERNEL} of .*damaged array: .*{cause}"
    with pytest.raises(ValueError, match=expected):
        read(written)


def test_an_array_that_is_not_as_described_is_named(written):
    shutil.rmtree(written / FOLDER)
    with pytest.raises(ValueError, match=rf"{KERNEL}: expected \(48, 32\), got NOT_FO"):
        read(written)
    layout.write_zarr(written / FOLDER, np.zeros((48, 31), np.float32), 5)
    wrong = rf"{KERNEL}: expected \(48, 32\), got \(48, 31\)"
    with pytest.raises(ValueError, match=f"1 arrays .* are not what .* says: {wrong}"):
        read(written)


@pytest.mark.parametrize("write", [layout.write_legacy, layout.write_orbax])
def test_what_does_not_fit_the_model_is_listed(tmp_path, tree, write):
    del tree["encoder/layers_1/attention/query/kernel"]
    tree["encoder/adapter/kernel"] = np.zeros((2, 2), np.float32)
    tree[KERNEL] = np.zeros((48, 31), np.float32)
    path = write(tmp_path / "c", tree) or tmp_path / "c"
    with pytest.raises(ValueError) as error:
        read(path)
    for message in (
        "missing ['encoder/layers_1/attention/query/kernel'] (1)",
        "not expected ['encoder/adapter/kernel'] (1)",
        f"of another shape ['{KERNEL}: expected (48, 32), got (48, 31)'] (1)",
    ):
        assert message in str(error.value)


def test_what_is_not_the_backbone_s_may_be_left_out(tmp_path, tree, caplog):
    tree["hyper/encoder/kernel"] = np.zeros((2, 2), np.float32)
    layout.write_legacy(tmp_path / "c", tree)
    with pytest.raises(ValueError, match=r"not expected \['hyper/encoder/kernel'\]"):
        read(tmp_path / "c")
    with caplog.at_level("INFO", "hyperx"):
        params = read(tmp_path / "c", backbone_only=True)
    assert "hyper" not in params
    assert "leaving out 1 parameters: ['hyper/encoder/kernel']" in caplog.text


@pytest.mark.parametrize(
    "name", ["encoder/encoder/relpos_bias", "encoder/layers_0/relpos_bias"]
)
def test_a_bias_in_every_layer_is_another_architecture(tmp_path, tree, name):
    del tree["encoder/relpos_bias/rel_embedding"]
    tree[f"{name}/rel_embedding"] = np.zeros((4, 32), np.float32)
    layout.write_legacy(tmp_path / "c", tree)
    checkpoint = reading.open_checkpoint(tmp_path / "c")
    for call in (lambda: read(tmp_path / "c"), lambda: sizes.infer(checkpoint.shapes)):
        with pytest.raises(ValueError, match=f"share.*{name}.*another architecture"):
            call()


def test_what_is_no_checkpoint_says_what_was_looked_for(tmp_path, written):
    looked = "a file checkpoint or a folder state, found neither"
    for path in (tmp_path / "none", tmp_path / "other"):
        with pytest.raises(FileNotFoundError, match=f"{path.name}: {looked}$"):
            reading.open_checkpoint(path)
        (tmp_path / "other").mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError, match=f"{looked}; give one of.*checkpoint_7"):
        reading.open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": 1, "optimizer": {"target": {}}}, "of version 2 or 3 in .*, got 1"),
        ({"target": {}}, "of version 2 or 3 in .*, got None"),
        ({"version": 3, "optimizer": {}}, "expected optimizer/target in"),
        (b'model_checkpoint_path: "model.ckpt-1"', "expected a msgpack file of t5x"),
        (serialization.msgpack_serialize({"version": 3})[:-4], "expected a msgpack"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    if isinstance(content, bytes):
        (tmp_path / "checkpoint").write_bytes(content)
    else:
        layout.write_msgpack(tmp_path, content)
    with pytest.raises(ValueError, match=message):
        reading.open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kvstore": {"driver": "file", "path": "/etc/"}}, "beside .*, got '/etc/'"),
        ({"kvstore": {"driver": "file", "path": "../x/"}}, "beside .*, got '../x/'"),
        ({"kvstore": {"driver": "file"}}, "beside .*, got None"),
        ({"driver": "n5"}, "to be a zarr array, got 'n5'"),
    ],
)
def test_descriptions_of_other_arrays_are_refused(tmp_path, changes, message):
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": "target.a/"},
        "metadata": {"shape": [2]},
    }
    optimizer = {"target": {"a": spec | changes}, "state": {}}
    layout.write_msgpack(tmp_path, {"version": 3, "optimizer": optimizer})
    with pytest.raises(ValueError, match=message):
        reading.open_checkpoint(tmp_path)


def test_integers_are_refused(tmp_path, tree):
    tree[KERNEL] = np.zeros((48, 32), np.uint16)  # Of version 2 it would be bfloat16.
    layout.write_legacy(tmp_path / "c", tree)
    with pytest.raises(ValueError, match=f"expected {KERNEL} .* got uint16"):
        reading.open_checkpoint(tmp_path / "c")


def test_damaged_orbax_checkpoints_are_named(tmp_path, tree):
    path = layout.write_orbax(tmp_path / "run", tree, ocdbt=False)
    chunk = next((path / "state" / FOLDER).glob("[0-9]*"))
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"wo/kernel: float32\[48, 32\].*damaged arra"):
        read(path)
    (path / "state" / "_METADATA").unlink()
    with pytest.raises(ValueError, match="expected item 'state' of an Orbax"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_embedder/embedding": None}, "with token_embedder/embedding, got"),
        ({"encoder/layers_0/mlp/wi_1/kernel": None}, r"got 48, 4 heads and \('wi_0',"),
        ({"encoder/relpos_bias/rel_embedding": (5, 32)}, "got 48, 5 heads"),
        (
            {"encoder/layers_0/attention/query/kernel": (32, 4, 12)},
            "expected 2 axes of encoder/layers_0/attention/query/kernel, got",
        ),
    ],
)
def test_sizes_that_shapes_do_not_show_are_an_error(tmp_path, tree, changes, message):
    for name, shape in changes.items():
        if shape is None:
            del tree[name]
        else:
            tree[name] = np.zeros(shape, np.float32)
    layout.write_legacy(tmp_path / "c", tree)
    with pytest.raises(ValueError, match=message):
        sizes.infer(reading.open_checkpoint(tmp_path / "c").shapes)
