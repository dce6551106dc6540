"""One run of the toyworld comparison, through the functions that commands call."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import shutil
import time
from typing import Any

import jax

from benchmarks.toyworld.entries import BACKBONES, ENTRIES, SETTINGS, Entry
from hyperx import costs, model
from hyperx.data import controls
from hyperx.optim import freezing
from hyperx.runs import configuration, models
from hyperx.runs.evaluate import Evaluator

RESULT = "result.json"
SETTINGS_OF_RUN = "entry.json"


def backbone(name: str, output: pathlib.Path) -> pathlib.Path:
    """The folder of one of `BACKBONES`, trained if need be."""
    finish(BACKBONES[name], 0, output)
    return folder_of(BACKBONES[name], 0, output)


def finish(entry: Entry, seed: int, output: pathlib.Path) -> dict[str, Any]:
    """Trains and tests a method, unless that was done with these very settings.

    Returns:
        ``scores`` in percent by control, ``seconds`` of training, ``sizes``.
    """
    folder = folder_of(entry, seed, output)
    found = read(entry, seed, output)
    if found is not None:
        return found
    start = None
    if entry.frozen_start:
        start = backbone(SETTINGS[entry.setting].backbone, output)
    _begin(entry, folder)
    _configure(entry, seed, folder, start)
    sizes = _sizes()
    began = time.monotonic()
    configuration.call("hyperx.runs.train.train", evaluator=None)
    seconds = time.monotonic() - began
    evaluator = _evaluator(entry.setting)
    results = evaluator.run(
        models.load(folder), step=entry.steps, controls=controls.CONTROLS
    )
    scores = {
        name.removesuffix("/exact_match"): value
        for name, value in evaluator.flat(results).items()
    }
    result = {"entry": _settings(entry), "sizes": sizes}
    result |= {"scores": scores, "seconds": seconds}
    _write(folder / RESULT, result)
    return result


def finished(output: pathlib.Path, seeds: int) -> list[dict[str, Any]]:
    """One row per entry: its settings and sizes, and the scores of every seed."""
    rows = []
    for entry in ENTRIES:
        runs = [read(entry, seed, output) for seed in range(seeds)]
        runs = [run for run in runs if run is not None]
        if runs:
            row = runs[0]["entry"] | runs[0]["sizes"]
            row["scores"] = [run["scores"] for run in runs]
            row["seconds"] = [run["seconds"] for run in runs]
            rows.append(row)
    return rows


def folder_of(entry: Entry, seed: int, output: pathlib.Path) -> pathlib.Path:
    """The model directory of a run."""
    name = f"{entry.setting} {entry.name}".replace(" ", "_")
    return output / name / str(seed)


def _begin(entry: Entry, folder: pathlib.Path) -> None:
    """Leaves a folder of nothing but a run with these settings, to be continued."""
    path, settings = folder / SETTINGS_OF_RUN, _settings(entry)
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")) != settings:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write(path, settings)


def _write(path: pathlib.Path, content: Any) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read(entry: Entry, seed: int, output: pathlib.Path) -> dict[str, Any] | None:
    """A finished run; None if there is none, or one of other settings."""
    path = folder_of(entry, seed, output) / RESULT
    if not path.exists():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return result if result["entry"] == _settings(entry) else None


def _settings(entry: Entry) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(entry)))


def _configure(
    entry: Entry, seed: int, folder: pathlib.Path, start: pathlib.Path | None
) -> None:
    bindings = [
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
    method = configuration.macro("METHOD")
    lengths = configuration.macro("TASK_FEATURE_LENGTHS")
    config = model.ModelConfig(backbone=configuration.macro("BACKBONE"), method=method)
    shapes = model.abstract_parameters(config).shapes
    trained, _ = freezing.split(shapes, configuration.macro("FROZEN") or ())
    cost = costs.of_model(
        config,
        condition=lengths["condition"],
        inputs=lengths["prompt" if method.reads == "prompt" else "inputs"],
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
