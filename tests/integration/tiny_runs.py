"""Runs of the shipped gin files that take seconds: what integration tests share.

Test modules import the fixture `one_device`.
"""

import os
import subprocess
import sys

import jax
import pytest
from flax.traverse_util import flatten_dict

from hyperx import sharding
from hyperx.checkpoints.store import Store
from hyperx.data import startup
from hyperx.runs import configuration

# The small split is enough to train on; the large one takes seconds to prepare.
TINY_RUN = {
    "BATCH_SIZE": 8,
    "ROWS": 2,
    "EVAL_PERIOD": None,
    "LOG_PERIOD": 1,
    "DROPOUT_RATE": 0.1,
    "TASK_FEATURE_LENGTHS": dict(condition=16, inputs=8, prompt=24, targets=8),
    "train.TrainingData.split": "test",
}


def bindings(model_dir, **overrides):
    """Gin bindings of a tiny run; overrides are macros or, as `a__b`, parameters."""
    values = TINY_RUN | {k.replace("__", "."): v for k, v in overrides.items()}
    return [f"{k}={v!r}" for k, v in {"MODEL_DIR": str(model_dir), **values}.items()]


def files(method="hint"):
    return ["runs/toyworld.gin", f"methods/{method}.gin"]


def arguments(command, model_dir, method="hint", **overrides):
    """Arguments of the command line for a tiny run."""
    given = [f"--gin_file={file}" for file in files(method)]
    given += [f"--gin.{binding}" for binding in bindings(model_dir, **overrides)]
    return [command, *given]


def run(model_dir, method="hint", **overrides):
    """Trains in this process."""
    startup.prepare_tensorflow()
    configuration.parse(files(method), bindings(model_dir, **overrides))
    return configuration.call("hyperx.runs.train.train")


def start(model_dir, **overrides):
    """Starts the same in another process; returns it."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "hyperx", *arguments("train", model_dir, **overrides)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states_of(model_dir):
    """All leaves of the newest checkpoint's train state, by path."""
    restored = Store(model_dir / "checkpoints").checkpoint().restore()
    return flatten_dict(restored, sep="/")


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Runs see one device, as on a laptop, not the eight of other tests."""
    made = sharding.make_mesh

    def make_mesh(data=None, fsdp=1, model=1, *, devices=None):
        return made(data, fsdp, model, devices=devices or jax.devices()[:1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", make_mesh)
        yield
