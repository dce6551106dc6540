"""The plug-in inside t5x. Skipped where t5x is not installed; see docs/t5x.md."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.core import unfreeze
from flax.traverse_util import flatten_dict, unflatten_dict
from row_batches import as_rows

from hyperx import model, sharding
from hyperx.checkpoints import description
from hyperx.checkpoints.store import Store
from hyperx.methods import hyper_t5, plain
from hyperx.runs import models as model_dirs

pytest.importorskip("t5x", reason="t5x is not installed")

from t5x import trainer

from hyperx.t5x_plugin import initializing, models, optimizers, partitioning

ROOT = pathlib.Path(__file__).parents[2]
BATCH = as_rows(random_batch(groups=8, rows=1))
KEY = jax.random.PRNGKey(0)
BACKBONE = dataclasses.replace(TINY, vocab_size=128)  # toyworld's words


def under_t5x(method, **optimizer):
    """A model of t5x."""
    return models.HyperEncoderDecoderModel(
        backbone=BACKBONE,
        method=method,
        vocabulary="toyworld",
        optimizer_def=optimizers.Adafactor(**optimizer),
        z_loss=1e-3,
    )


def initializer(own, partitioner, **fields):
    return initializing.StateInitializer(
        optimizer_def=own.optimizer_def,
        init_fn=own.get_initial_variables,
        input_shapes={name: array.shape for name, array in BATCH.items()},
        partitioner=partitioner,
        **fields,
    )


def trained(own, partitioner, steps=2):
    """Train states before and after some steps of t5x's trainer."""
    start = initializer(own, partitioner)
    before = start.from_scratch(KEY)
    kept = jax.device_get(before.params)
    loop = trainer.Trainer(
        model=own,
        train_state=before,
        partitioner=partitioner,
        train_state_axes=start.train_state_axes,
        eval_names=[],
        summary_dir=None,
        rng=KEY,
        learning_rate_fn=lambda step: 0.01,
        num_microbatches=2,
    )
    with loop:
        loop.train(iter([BATCH] * steps), steps)
    return unfreeze(kept), loop.train_state


def flat(tree):
    return flatten_dict(unfreeze(tree), sep="/")


def test_the_loss_is_hyperx_own():
    own, grouped = under_t5x(tiny_hint().method), random_batch(groups=8, rows=1)
    partitioner = partitioning.MeshPartitioner(model_parallel=2, fsdp=2)
    with sharding.use(partitioner.mesh):
        params = initial_params(own.rows.config)
        logits = own.module.apply({"params": params}, grouped)
        expected, sums = model.token_loss(logits, grouped, z_loss=1e-3)
        loss, metrics = jax.jit(own.loss_fn)(params, BATCH, None)
        scores = jax.jit(own.score_batch)(params, BATCH)
    assert np.isclose(loss, expected, rtol=1e-5)
    accuracy = metrics["accuracy"].compute()
    assert np.isclose(accuracy, sums["correct"] / sums["tokens"])
    assert np.isclose(-scores.sum(), sums["cross_entropy"], rtol=1e-5)


def test_all_devices_share_rows_and_parameters():
    own = under_t5x(tiny_hint().method)
    partitioner = partitioning.MeshPartitioner(model_parallel=2, fsdp=2)
    assert partitioner.get_data_layout(8).num_shards == 1
    assert partitioner.data_mesh_size == 4
    before, state = trained(own, partitioner)
    assert int(state.step) == 2
    wanted = sharding.tree_shardings(own.rows.parameters.axes, partitioner.mesh)
    for path, where in flatten_dict(wanted, sep="/").items():
        leaf = flat(state.params)[path]
        assert leaf.sharding.is_equivalent_to(where, leaf.ndim), path
        assert not np.allclose(leaf, flat(before)[path]), path


def test_two_meshes_train_alike():
    states = [
        trained(under_t5x(tiny_hint().method), partitioner)[1]
        for partitioner in (
            partitioning.MeshPartitioner(model_parallel=2, fsdp=4),
            partitioning.MeshPartitioner(model_parallel=4),
        )
    ]
    first, second = (flat(state.params) for state in states)
    for path, leaf in first.items():
        assert np.allclose(leaf, second[path], atol=2e-4), path


def test_what_is_frozen_stays_and_has_no_moments():
    frozen = ("(?!hypernetwork/)",)
    own = under_t5x(hyper_t5.HyperT5Lora(rank=2), frozen=frozen)
    before, state = trained(own, partitioning.MeshPartitioner(model_parallel=2))
    moved = set()
    for path, leaf in flat(state.params).items():
        if not np.array_equal(leaf, flat(before)[path]):
            moved.add(path.split("/")[:2][-1])
        moments = jax.tree.leaves(flat(state.param_states)[path])
        is_frozen = not path.startswith("hypernetwork/")
        assert is_frozen == ({value.size for value in moments} == {1}), path
    assert moved == {"conditioner", "generator"}


def test_a_pattern_that_matches_nothing_is_an_error():
    own = under_t5x(tiny_hint().method, frozen=("encodr/",))
    with pytest.raises(ValueError, match="'encodr/' to match the path"):
        initializer(own, partitioning.MeshPartitioner())


def imported(folder):
    """A plain model directory, as an import makes it; its parameters."""
    config = model.ModelConfig(backbone=BACKBONE, method=plain.Plain())
    with sharding.use(sharding.make_mesh(1, devices=jax.devices()[:1])):
        params = initial_params(config, seed=5)
    with Store(folder / model_dirs.CHECKPOINTS) as store:
        store.save(0, {"params": params})
    description.write(folder, model_dirs.describe(config, "toyworld", {}))
    return params


def test_a_run_starts_with_a_t5_of_hyperx(tmp_path):
    loaded = flat(imported(tmp_path))
    own = under_t5x(hyper_t5.HyperT5Prefix(length=2))
    partitioner = partitioning.MeshPartitioner(fsdp=2)
    start = initializer(own, partitioner, initial_model_dir=tmp_path)
    params = flat(start.from_scratch(KEY).params)
    for path, leaf in loaded.items():
        assert np.array_equal(params[path], leaf), path
    copy = "hypernetwork/conditioner/model/encoder/encoder_norm/scale"
    assert np.array_equal(params[copy], loaded["encoder/encoder_norm/scale"])
    with sharding.use(partitioner.mesh):
        fresh = flat(jax.jit(own.rows.initial_params)(KEY))
    whole = {p: (fresh if "generator" in p else params)[p] for p in fresh}
    expected = flat(own.rows.config.method.start(unflatten_dict(whole, sep="/")))
    for path, leaf in params.items():
        assert np.allclose(leaf, expected[path], rtol=1e-5), path
    head = "hypernetwork/generator/encoder_self_attention_key_wo"
    assert not np.allclose(params[head], fresh[head])


def test_a_model_with_other_words_is_refused(tmp_path):
    imported(tmp_path)
    described = description.read(tmp_path) | {"vocabulary": "bytes"}
    description.write(tmp_path, described, ("vocabulary",))
    own, partitioner = under_t5x(plain.Plain()), partitioning.MeshPartitioner()
    start = initializer(own, partitioner, initial_model_dir=tmp_path)
    with pytest.raises(ValueError, match="expected the vocabulary of"):
        start.from_scratch(KEY)


def run(script, *flags):
    command = [sys.executable, "-m", f"t5x.{script}", "--gin_search_paths=gin"]
    files = [f"t5x/{script}.gin", "t5x/toyworld.gin", "methods/hint.gin"]
    bindings = ["BATCH_SIZE=16", "EVAL_STEPS=1", "SAVE_PERIOD=2", "EVAL_PERIOD=2"]
    result = subprocess.run(
        [
            *command,
            *(f"--gin_file={file}" for file in files),
            *(f"--gin.{binding}" for binding in bindings if script == "train"),
            *(f"--gin.{flag}" for flag in flags),
        ],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stderr


@pytest.mark.slow
def test_the_shipped_gin_files_train_evaluate_infer_and_resume(tmp_path):
    trained, checkpoint = tmp_path / "out", tmp_path / "out" / "checkpoint_2"
    run("train", f"MODEL_DIR='{trained}'", "TRAIN_STEPS=2")
    run("eval", f"CHECKPOINT_PATH='{checkpoint}'", f"EVAL_OUTPUT_DIR='{tmp_path}/eval'")
    run("infer", f"CHECKPOINT_PATH='{checkpoint}'", f"INFER_OUTPUT_DIR='{tmp_path}'")
    (metrics,) = tmp_path.glob("eval/inference_eval/toyworld-metrics.jsonl")
    evaluated = json.loads(metrics.read_text().splitlines()[-1])
    assert evaluated["step"] == 2
    assert "exact_match" in evaluated
    lines = (tmp_path / "toyworld-predict.jsonl-00000-of-00001").read_text()
    predicted = [json.loads(line)["prediction"] for line in lines.splitlines()]
    outputs = tmp_path / "eval/inference_eval/toyworld-000002.jsonl"
    shown = [
        json.loads(line)["prediction"] for line in outputs.read_text().splitlines()
    ]
    assert predicted == shown
    log = run("train", f"MODEL_DIR='{trained}'", "TRAIN_STEPS=4", "FSDP=2")
    assert "main loop over steps 2-4" in log
    assert (trained / "checkpoint_4").is_dir()
