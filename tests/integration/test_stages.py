"""Runs that build on each other: text before tasks, a teacher before its student."""

import json
import logging

import jax
import numpy as np
import pytest
from tiny_runs import one_device, states_of  # noqa: F401

from hyperx.data import startup
from hyperx.runs import configuration, metrics_log
from hyperx.runs import train as train_lib

BYTES = "backbones/t5_1_1_tiny.gin"
TOYWORLD = "runs/toyworld.gin"
HINT = "methods/hint.gin"
CONCATENATION = "methods/concatenation.gin"
SIZES = {
    "BATCH_SIZE": 8,
    "LOG_PERIOD": 1,
    "TASK_FEATURE_LENGTHS": dict(condition=70, inputs=40, prompt=70, targets=40),
}


def run(files, model_dir, **macros):
    """Trains as the files say."""
    startup.prepare_tensorflow()
    values = SIZES | {"MODEL_DIR": str(model_dir), "EVAL_PERIOD": None} | macros
    bindings = [f"{k.replace('__', '.')}={v!r}" for k, v in values.items()]
    configuration.parse(files, bindings)
    return configuration.call("hyperx.runs.train.train")


class BothObjectives:
    """Written as gin reads it: references, not strings."""

    def __repr__(self):
        return "(@distillation.Distillation(), @consistency.Consistency())"


@pytest.fixture(scope="module")
def c4_dir(tmp_path_factory):
    """A file of documents; every one is a window."""
    folder = tmp_path_factory.mktemp("c4")
    texts = [f"Page {n} of a small book: it has {n + 1} words, more or less." * 2
             for n in range(24)]  # fmt: skip
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "c4-train.00000-of-00001.json").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def super_ni_dir(tmp_path_factory):
    """A task to train on."""
    folder = tmp_path_factory.mktemp("super_ni")
    content = {
        "Categories": ["Other"],
        "Definition": ["Say good or bad"],
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": [
            {"id": f"t-{i}", "input": f"film {i}", "output": ["good"]}
            for i in range(16)
        ],
    }
    for name in ("tasks", "splits/default"):
        (folder / name).mkdir(parents=True)
    (folder / "splits" / "default" / "train_tasks.txt").write_text("task1\n")
    (folder / "tasks" / "task1.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def starts(monkeypatch):
    """Receives the parameters that every run starts from, by path."""
    received = []
    load_initial = train_lib.load_initial

    def recorded(*arguments):
        merged, counts = load_initial(*arguments)
        received.append(
            {
                f"params/{jax.tree_util.keystr(path, simple=True, separator='/')}": (
                    np.array(leaf)
                )
                for path, leaf in jax.tree_util.tree_leaves_with_path(merged)
            }
        )
        return merged, counts

    monkeypatch.setattr(train_lib, "load_initial", recorded)
    return received


def moved(start, model_dir):
    after = states_of(model_dir)
    return {name for name in start if not np.array_equal(after[name], start[name])}


def test_from_text_to_tasks(c4_dir, super_ni_dir, tmp_path, starts, caplog):
    plain, first, second = (tmp_path / name for name in ("plain", "one", "two"))
    c4 = ["runs/c4.gin", BYTES]
    options = dict(C4_DIR=str(c4_dir), C4_WINDOW=64, TRAIN_STEPS=2)
    run([*c4, CONCATENATION], plain, **options)

    with caplog.at_level(logging.INFO, logger="hyperx.runs.train"):
        run(
            [*c4, "data/c4_caclm.gin", HINT],
            first,
            **options,
            FROZEN=("(?!hypernetwork/)",),
            INITIAL_CHECKPOINT_PATH=str(plain),
        )
        run(
            ["runs/super_ni.gin", BYTES, HINT],
            second,
            SUPER_NI_DIR=str(super_ni_dir),
            TRAIN_STEPS=1,
            LEARNING_RATE_FACTORS={"token_embedder/": 0.0},
            INITIAL_CHECKPOINT_PATH=str(first),
        )
    backbone = {name for name in states_of(plain) if name.startswith("params/")}
    hyper = {name for name in starts[0] if name.startswith("params/hypernetwork/")}
    assert starts[0].keys() == starts[1].keys() == backbone | hyper

    # Text: the backbone is loaded and frozen, the hypernetwork is new and learns.
    counts = {"loaded": len(backbone), "copied": 0, "new": len(hyper)}
    assert f"parameters from {plain}: {counts}" in caplog.messages
    assert moved(starts[0], first) == hyper
    # Tasks: all is loaded, and all learns but what has no rate.
    counts = {"loaded": len(starts[1]), "copied": 0, "new": 0}
    assert f"parameters from {first}: {counts}" in caplog.messages
    for name, leaf in states_of(first).items():
        if name.startswith("params/"):
            np.testing.assert_array_equal(starts[1][name], leaf, name)
    embedding = "params/token_embedder/embedding"
    assert moved(starts[1], second) == starts[1].keys() - {embedding}


def test_learning_from_a_teacher_and_from_other_words(tmp_path):
    lengths = dict(condition=16, inputs=8, prompt=24, targets=8)
    options = dict(TRAIN_STEPS=1, TASK_FEATURE_LENGTHS=lengths, VOCAB_SIZE=384, ROWS=2)
    options["train.TrainingData.split"] = "test"
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    run([TOYWORLD, CONCATENATION], teacher, **options)
    before = states_of(teacher)
    metrics = run(
        [TOYWORLD, HINT, *(f"objectives/{name}.gin" for name in
         ("distillation", "consistency"))],
        student,
        **options,
        TEACHER=str(teacher),
        MICRO_BATCHES=2,
        distillation__Distillation__weight=0.5,
        consistency__Consistency__weight=4.0,
        OBJECTIVES=BothObjectives(),
    )  # fmt: skip
    expected = metrics["cross_entropy"] + 0.5 * metrics["distillation"]
    expected += 4.0 * metrics["consistency"]
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["distillation"] > 0
    assert metrics["consistency"] > 0
    assert metrics_log.read(student)[-1]["values"]["consistency"] > 0
    after = states_of(teacher)
    assert before.keys() == after.keys()
    jax.tree.map(np.testing.assert_array_equal, before, after)

    with pytest.raises(
        ValueError, match="vocabulary of .*teacher, 'toyworld', got 'bytes'"
    ):
        run(
            ["runs/c4.gin", BYTES, HINT, "objectives/distillation.gin"],
            tmp_path / "other",
            TRAIN_STEPS=1,
            TEACHER=str(teacher),
        )
