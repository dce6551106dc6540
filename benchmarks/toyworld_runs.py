"""One run of the toyworld comparison, through the commands that users have."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np

from benchmarks.toyworld_entries import BACKBONE, SETTINGS, Entry
from hyperx import costs, model
from hyperx.data import controls
from hyperx.optim import freezing
from hyperx.runs import configuration, models
from hyperx.runs.evaluate import Evaluator


class Journal:
    """Finished runs, in a JSON file that is whole at any moment."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._runs: dict[str, Any] = {}
        if path.exists():
            self._runs = json.loads(path.read_text(encoding="utf-8"))

    def has(self, entry: Entry, seed: int) -> bool:
        """Whether a run with these very settings is finished."""
        run = self._runs.get(_key(entry, seed))
        return run is not None and run["entry"] == _settings(entry)

    def add(self, entry: Entry, seed: int, result: dict[str, Any]) -> None:
        """Notes a finished run; it is on disk on return."""
        self._runs[_key(entry, seed)] = {"entry": _settings(entry), **result}
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._runs, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self._path)

    def rows(self) -> list[dict[str, Any]]:
        """One row per entry: its settings and sizes, and the scores of every seed."""
        rows: dict[str, dict[str, Any]] = {}
        for key, run in self._runs.items():
            row = rows.setdefault(
                key.rpartition("/")[0],
                run["entry"] | run["sizes"] | {"scores": [], "seconds": []},
            )
            row["scores"].append(run["scores"])
            row["seconds"].append(run["seconds"])
        return list(rows.values())


def _key(entry: Entry, seed: int) -> str:
    return f"{entry.setting}/{entry.name}/{seed}"


def _settings(entry: Entry) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(entry)))


def backbone(entry: Entry, output: pathlib.Path) -> pathlib.Path:
    """The model that a method with a frozen start begins with, trained if need be."""
    del entry
    folder = output / "backbone"
    _configure(BACKBONE, 0, folder, None)
    configuration.call("hyperx.runs.train.train", evaluator=None)
    return folder


def finish(
    entry: Entry, seed: int, output: pathlib.Path, start: pathlib.Path | None
) -> dict[str, Any]:
    """Trains and tests a method.

    Returns:
        ``scores`` in percent by control, ``seconds`` of training, ``sizes``.
    """
    folder = output / entry.setting.replace(" ", "_") / entry.name / str(seed)
    _configure(entry, seed, folder, start)
    sizes = _sizes()
    began = time.monotonic()
    configuration.call("hyperx.runs.train.train", evaluator=None)
    seconds = time.monotonic() - began
    evaluator = _evaluator(entry.setting)
    results = evaluator.run(
        models.load(folder), step=entry.steps, controls=controls.CONTROLS
    )
    flat = evaluator.flat(results)
    scores = {name.removesuffix("/exact_match"): value for name, value in flat.items()}
    return {"scores": scores, "seconds": seconds, "sizes": sizes}


def _configure(
    entry: Entry, seed: int, folder: pathlib.Path, start: pathlib.Path | None
) -> None:
    bindings = [
        *SETTINGS[entry.setting].bindings,
        *entry.bindings,
        f"TRAIN_STEPS = {entry.steps}",
        f"SEED = {seed}",
        "EVAL_PERIOD = None",
    ]
    if start is not None:
        bindings.append(f"INITIAL_CHECKPOINT_PATH = {str(start)!r}")
    files = ["runs/toyworld.gin", SETTINGS[entry.setting].data, entry.method]
    configuration.parse(files, bindings, model_dir=folder)


@functools.cache
def _evaluator(setting: str) -> Evaluator:
    """Reads the test rows once; the configuration at hand is one of `setting`."""
    del setting
    return configuration.call("hyperx.runs.evaluate.Evaluator")


def _sizes() -> dict[str, Any]:
    """Parameters, generated numbers and operations of the configured model."""
    method, lengths = (
        configuration.macro("METHOD"),
        configuration.macro("TASK_FEATURE_LENGTHS"),
    )
    config = model.ModelConfig(backbone=configuration.macro("BACKBONE"), method=method)
    shapes = model.abstract_parameters(config).shapes
    trained, _ = freezing.split(shapes, configuration.macro("FROZEN") or ())
    read = lengths["prompt" if method.reads == "prompt" else "inputs"]
    cost = costs.of_model(
        config,
        condition=lengths["condition"],
        inputs=read,
        targets=lengths["targets"],
    )
    state = model.abstract_state(config, lengths["condition"])
    return {
        "reads": method.reads,
        "total": _count(shapes),
        "trained": _count(trained),
        "generated": _count((state.encoder, state.decoder, state.prompt)),
        "memory": _count(state.memory),
        "flops_per_task": cost.task,
        "flops_per_example": cost.example,
    }


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds."""
    return float(np.mean(values)), float(np.std(values))
