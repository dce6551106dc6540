"""What training changes: what is meant to, and nothing else."""

import logging

import jax
import numpy as np
import pytest
from tiny_runs import arguments, one_device, run, states_of  # noqa: F401

from hyperx import cli
from hyperx.methods import hint
from hyperx.runs import train as train_lib

FROZEN = ("(?!hypernetwork/)",)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The directory of a model without hypernetwork, trained for a step."""
    folder = tmp_path_factory.mktemp("plain")
    run(folder, "concatenation", TRAIN_STEPS=1)
    return folder


@pytest.fixture
def initial(monkeypatch):
    """Receives the parameters that a run starts from, by path."""
    received = {}
    load_initial = train_lib.load_initial

    def recorded(*arguments):
        merged, counts = load_initial(*arguments)
        for path, leaf in jax.tree_util.tree_leaves_with_path(merged):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            received[f"params/{name}"] = np.array(leaf)
        return merged, counts

    monkeypatch.setattr(train_lib, "load_initial", recorded)
    return received


@pytest.mark.parametrize("frozen", [FROZEN, ()])
def test_one_step_of_hint_from_a_plain_model(plain, initial, tmp_path, caplog, frozen):
    with caplog.at_level(logging.INFO, logger="hyperx.runs.train"):
        run(
            tmp_path,
            TRAIN_STEPS=1,
            FROZEN=frozen,
            INITIAL_CHECKPOINT_PATH=str(plain),
        )
    before, after = states_of(plain), states_of(tmp_path)
    backbone = {name for name in before if name.startswith("params/")}
    hyper = {name for name in after if name.startswith("params/hypernetwork/")}
    assert initial.keys() == backbone | hyper
    assert hyper
    for name in backbone:
        np.testing.assert_array_equal(initial[name], before[name], name)
    moved = {name for name in initial if not np.array_equal(after[name], initial[name])}
    assert moved == (hyper if frozen else initial.keys())
    counts = {"loaded": len(backbone), "copied": 0, "new": len(hyper)}
    assert f"parameters from {plain}: {counts}" in caplog.messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ROWS": 3}, "expected BATCH_SIZE to be a multiple of ROWS=3, got 8"),
        ({"MICRO_BATCHES": 3}, " x 3 (MICRO_BATCHES), got 4"),
        ({"FROZEN": ("nothing",)}, "expected 'nothing' to match the path of a"),
        ({"FROZEN": ("",)}, "expected something to train"),
        ({"VOCAB_SIZE": 100}, "expected VOCAB_SIZE of at least"),
        ({"MIXTURE_OR_TASK_NAME": "toywrld"}, "toywrld"),
        ({"INITIAL_CHECKPOINT_PATH": "nowhere"}, "imported model in nowhere"),
        ({"ADAPTER_SIZE": 0, "PREFIX_LENGTH": 0, "hint__Hint__fusion": False},
         "expected at least one of adapters, prefixes and fusion"),
        ({"TASK_FEATURE_LENGTHS": {"inputs": 8, "targets": 8}}, "got no ['condition']"),
        ({"EVAL_PERIODS": 3}, "EVAL_PERIODS; did you mean EVAL_PERIOD"),
        ({"TRAIN_STEPS": "x", "train__train__steps": 3}, "named 'steps'"),
        ({"SAVE_PERIOD": 0}, "expected save_period and keep of at least 1, got 0"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_message(tmp_path, capsys, options, message):
    options = {"TRAIN_STEPS": 1} | options
    assert cli.main(arguments("train", tmp_path / "out", **options)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert sum(line.startswith("hyperx: error:") for line in error.splitlines()) == 1


def test_other_parameters_do_not_start_a_model(plain, tmp_path, capsys):
    options = dict(TRAIN_STEPS=1, INITIAL_CHECKPOINT_PATH=str(plain), VOCAB_SIZE=256)
    assert cli.main(arguments("train", tmp_path, **options)) == 1
    error = capsys.readouterr().err
    assert "token_embedder/embedding: expected (256, 64), got (128, 64)" in error


def test_a_method_starts_once(plain, tmp_path, monkeypatch):
    """Its hook sees new parameters, not those of a hypernetwork that was trained."""
    started = []

    def start(self, params, new=None):
        started.append(self)
        return params

    monkeypatch.setattr(hint.Hint, "start", start)
    options = dict(TRAIN_STEPS=1)
    run(tmp_path / "1", INITIAL_CHECKPOINT_PATH=str(plain), **options)
    assert len(started) == 1
    run(tmp_path / "2", INITIAL_CHECKPOINT_PATH=str(tmp_path / "1"), **options)
    assert len(started) == 1
