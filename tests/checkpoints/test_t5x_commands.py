"""`hyperx import`, `train` and `export`: parameters of t5x, through hyperx and back."""

import dataclasses
import json
import logging

import jax
import numpy as np
import pytest
import t5x_layout as layout
from flax.traverse_util import flatten_dict

from hyperx import cli, sharding
from hyperx.checkpoints import description
from hyperx.checkpoints.huggingface import reading as huggingface
from hyperx.checkpoints.store import load_params
from hyperx.checkpoints.t5x import reading
from hyperx.config import t5_1_0, t5_1_1
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig
from hyperx.runs import exporting, models

TINY = t5_1_1("tiny", vocab_size=128, num_decoder_layers=3)
PLAIN = layout.plain(TINY)


def source(directory, dtype="float32", backbone=TINY, **form):
    """A t5x checkpoint; returns its parameters, as ours and as theirs."""
    params = layout.random_params(layout.plain(backbone), dtype)
    tree = layout.unrolled(params)
    layout.write_legacy(directory, tree, chunk=1000, **form)
    return flatten_dict(params, sep="/"), tree


def imported(directory):
    return flatten_dict(load_params(directory / models.CHECKPOINTS), sep="/")


def theirs(directory):
    """All arrays of a checkpoint that was exported."""
    folders = directory.glob("target.*")
    return {
        path.name.removeprefix("target.").replace(".", "/"): layout.read_zarr(path)
        for path in folders
    }


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert np.asarray(array).tobytes() == np.asarray(right[name]).tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_imported_is_exported_to_the_bit(tmp_path, capsys, dtype):
    params, tree = source(tmp_path / "checkpoint_7", dtype)
    old, new = str(tmp_path / "checkpoint_7"), str(tmp_path / "m")
    assert cli.main(["import", "--from=t5x", old, f"--to={new}"]) == 0
    assert capsys.readouterr().out == (
        f"imported {old} to {new}: vocabulary 128, width 64, 4 heads of 16, MLP 128 "
        "(gelu, linear), 2 + 3 layers, own output head\n"
    )
    assert description.read(new) == models.describe(PLAIN, None, {}) | {
        "model": json.loads(json.dumps(PLAIN.to_json()))
    }
    wide = {name: array.astype(np.float32) for name, array in params.items()}
    assert_same_bits(imported(tmp_path / "m"), wide)
    argv = ["export", f"--model_dir={new}", f"--dtype={dtype}"]
    out = tmp_path / "out" / "checkpoint_0"
    assert cli.main([*argv, "--to=t5x", f"--output={out}"]) == 0
    assert_same_bits(theirs(out), tree)
    assert cli.main([*argv, "--to=hf", f"--output={tmp_path / 'hf'}"]) == 0
    backbone, found = huggingface.read(tmp_path / "hf")
    assert backbone == TINY
    assert_same_bits(flatten_dict(found, sep="/"), wide)


def test_training_starts_from_t5x_and_ends_there(tmp_path, monkeypatch):
    params, tree = source(tmp_path / "checkpoint_7")
    old, new, out = (str(tmp_path / name) for name in ("checkpoint_7", "m", "out"))
    assert cli.main(["import", "--from=t5x", old, f"--to={new}"]) == 0
    settings = {
        "INITIAL_CHECKPOINT_PATH": new,
        "MODEL_DIR": out,
        "TRAIN_STEPS": 1,
        "BATCH_SIZE": 8,
        "ROWS": 1,
        "EVAL_PERIOD": None,
        "train.TrainingData.split": "test",
        "config.t5_1_1.num_decoder_layers": 3,
    }
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("hyperx.runs.train").addHandler(handler)
    argv = [f"--gin.{name}={value!r}" for name, value in settings.items()]
    files = ["--gin_file=runs/toyworld.gin", "--gin_file=methods/hint.gin"]
    assert cli.main(["train", *files, *argv]) == 0
    assert any(f"'loaded': {len(params)}, 'copied': 0" in line for line in lines), lines

    trained = imported(tmp_path / "out")
    hyper = {k: v for k, v in trained.items() if k.startswith("hypernetwork/")}
    moved = [np.abs(trained[k] - params[k]).max() for k in params]
    assert 0 < max(moved) < 0.1
    export = ["export", "--to=t5x", f"--model_dir={out}"]
    assert cli.main([*export, f"--output={tmp_path}/checkpoint_1"]) == 0
    assert theirs(tmp_path / "checkpoint_1").keys() == tree.keys() | hyper.keys()
    abstract = models.spread(ModelConfig.from_json(description.read(out)["model"]))
    back = reading.read(reading.open_checkpoint(tmp_path / "checkpoint_1"), abstract)
    assert_same_bits(flatten_dict(back, sep="/"), trained)

    only = [*export, f"--output={tmp_path}/checkpoint_2", "--backbone_only"]
    assert cli.main(only) == 0
    assert theirs(tmp_path / "checkpoint_2").keys() == tree.keys()
    again = ["import", "--from=t5x", f"{tmp_path}/checkpoint_1", f"--to={tmp_path}/n"]
    assert cli.main(again) == 1  # A plain T5 has no hypernetwork.
    assert cli.main([*again, "--backbone_only"]) == 0
    kept = {k: v for k, v in trained.items() if k not in hyper}
    assert_same_bits(imported(tmp_path / "n"), kept)


@pytest.fixture
def hint(tmp_path):
    """A model with a hypernetwork."""
    from conftest import tiny_hint

    from hyperx.checkpoints.store import Store

    config = tiny_hint()
    params = layout.random_params(config)
    with Store(tmp_path / "hint" / models.CHECKPOINTS) as store:
        for step in (3, 4):
            store.save(step, {"params": jax.tree.map(lambda x, s=step: x * s, params)})
    description.write(tmp_path / "hint", models.describe(config, None, {}))
    return tmp_path / "hint", params


def test_hugging_face_has_no_place_for_a_hypernetwork(tmp_path, hint, capsys):
    directory, params = hint
    argv = ["export", "--to=hf", f"--model_dir={directory}", f"--output={tmp_path}/hf"]
    assert cli.main(argv) == 1
    message = "expected a plain T5 for Hugging Face, got Hint with a hypernetwork"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "hf").exists()
    assert cli.main([*argv, "--backbone_only", "--step=3"]) == 0
    _, found = huggingface.read(tmp_path / "hf")
    own = flatten_dict(params, sep="/")
    expected = {k: 3 * v for k, v in own.items() if not k.startswith("hypernetwork/")}
    assert_same_bits(flatten_dict(found, sep="/"), expected)


def test_an_export_is_whole_or_not_there(tmp_path, hint, monkeypatch, capsys):
    directory, _ = hint
    out = tmp_path / "checkpoint_4"
    argv = ["export", "--to=t5x", f"--model_dir={directory}", f"--output={out}"]

    def fail(folder, params, **how):
        folder.mkdir()
        (folder / "target.x").mkdir()
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(exporting.t5x, "write", fail)
        assert cli.main(argv) == 1
    assert "disk full" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hint"]
    killed = tmp_path / ".checkpoint_4.partial"
    killed.mkdir()
    (killed / "target.old").mkdir()
    out.mkdir()  # An empty one may be there.
    assert cli.main(argv) == 0
    assert not killed.exists()
    assert not (out / "target.old").exists()
    before = sorted(out.rglob("*"))
    capsys.readouterr()
    assert cli.main(argv) == 1
    assert f"a new or empty directory, got {out}" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before
    assert cli.main([*argv[:-1], f"--output={tmp_path}/x", "--step=9"]) == 1
    assert "expected checkpoint 9" in capsys.readouterr().err


def test_an_import_that_fails_leaves_nothing(tmp_path, capsys):
    source(tmp_path / "c")
    chunk = tmp_path / "c" / "target.decoder.decoder_norm.scale" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    to = ["--from=t5x", f"--to={tmp_path}/m"]
    assert cli.main(["import", str(tmp_path / "c"), *to]) == 1
    assert "float32[64] in decoder/decoder_norm/scale" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_configuration_tells_what_shapes_do_not(tmp_path, capsys):
    backbone = t5_1_0("tiny", vocab_size=96)
    source(tmp_path / "c", backbone=backbone)
    config = tmp_path / "own.gin"
    config.write_text(
        "from __gin__ import dynamic_registration\n"
        "from hyperx import config\n"
        "BACKBONE = @config.t5_1_0()\n"
        "config.t5_1_0.size = 'tiny'\n"
        "config.t5_1_0.vocab_size = 96\n"
        "config.t5_1_0.mlp_activations = ('silu',)\n"
    )
    argv = ["import", "--from=t5x", str(tmp_path / "c")]
    assert cli.main([*argv, f"--to={tmp_path}/a", f"--config={config}"]) == 0
    described = description.read(tmp_path / "a")["model"]
    expected = dataclasses.replace(backbone, mlp_activations=("silu",))
    assert ModelConfig.from_json(described).backbone == expected
    assert cli.main([*argv, f"--to={tmp_path}/b"]) == 0
    described = description.read(tmp_path / "b")["model"]
    plain = ModelConfig(backbone=backbone, method=Plain())
    assert ModelConfig.from_json(described) == plain
    capsys.readouterr()
    other = "--config=backbones/t5_1_1_tiny.gin"
    assert cli.main([*argv, f"--to={tmp_path}/d", other]) == 1
    assert "missing ['decoder/layers_0/mlp/wi_0/kernel'" in capsys.readouterr().err
    assert cli.main(["import", "--from=hf", "x", f"--to={tmp_path}/e", other]) == 1
    assert "with --from=t5x only" in capsys.readouterr().err


def test_parameters_spread_over_all_devices_that_divide_them():
    leaves = jax.tree.leaves(models.spread(PLAIN))
    assert all(leaf.sharding.mesh.shape["fsdp"] == 8 for leaf in leaves)
    odd = dataclasses.replace(TINY, embed_dim=12)
    leaf = models.spread(layout.plain(odd))["token_embedder"]["embedding"]
    assert leaf.sharding.mesh.shape == sharding.make_mesh(fsdp=4).shape
