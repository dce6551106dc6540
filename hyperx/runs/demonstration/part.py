"""One model of the demo: trained and tested once, whatever interrupts it."""

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from hyperx.data import controls
from hyperx.data.toyworld import follower as toyworld_follower
from hyperx.runs import configuration, metrics_log, models

SETTINGS = "demo.json"
# What `hyperx.data.evaluation` calls the predictions of a step.
PREDICTIONS = "toyworld-test-{control}-{step}.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One model of the comparison.

    Attributes:
        name: of its folder.
        title: of its row.
        given: how it learns of the instruction.
        method: its gin file.
        bindings: what it changes there.
        steps: of its training.
        fast_steps: the same under ``--fast``; None leaves it out.
        colour: in the picture.
    """

    name: str
    title: str
    given: str
    method: str
    bindings: tuple[str, ...] = ()
    steps: int
    fast_steps: int | None = None
    colour: str


class Journal:
    """What the demo has done, in ``demo.json``; survives a kill at any moment."""

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]) -> None:
        """Opens the journal of a folder, or begins one.

        Raises:
            ValueError: if the folder holds a demo with other settings.
        """
        self._path = folder / SETTINGS
        self._content = {"settings": dict(settings), "parts": {}}
        if self._path.exists():
            self._content = json.loads(self._path.read_text(encoding="utf-8"))
        begun = self._content["settings"]
        if begun != settings:
            differences = [
                f"{key}={begun.get(key)!r}, got {key}={value!r}"
                for key, value in settings.items()
                if begun.get(key) != value
            ]
            raise ValueError(
                f"{folder} holds a demo with other settings: expected "
                f"{'; '.join(differences)}. Choose another --output"
            )
        folder.mkdir(parents=True, exist_ok=True)

    def part(self, name: str) -> dict[str, Any]:
        """What is noted of a part."""
        return dict(self._content["parts"].get(name, {}))

    def note(self, name: str, **values: Any) -> None:
        """Notes something of a part; it is on disk on return."""
        self._content["parts"][name] = self.part(name) | values
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._content, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self._path)


def oracle_floor(records: Iterable[Mapping[str, Any]]) -> float:
    """Exact match, in percent, of a perfect follower of the conditions shown.

    For predictions under the shuffled control: a model that really follows what it is
    told cannot do better than this, nor should it do worse.

    Args:
        records: with ``condition``, ``input`` and ``references``.

    Raises:
        ValueError: without records.
    """
    right = [
        toyworld_follower.follow(record["condition"], record["input"])
        in record["references"]
        for record in records
    ]
    if not right:
        raise ValueError("expected predictions, got none")
    return 100 * sum(right) / len(right)


def complete(
    part: Part,
    folder: pathlib.Path,
    journal: Journal,
    *,
    steps: int,
    period: int,
    seed: int,
) -> bool:
    """Trains and tests a part, as far as that is not done yet.

    Args:
        part: of the demo.
        folder: of the model.
        journal: of the demo.
        steps: of training.
        period: steps between evaluations, and between checkpoints.
        seed: of initialisation and the order of the data.

    Returns:
        Whether it is complete; not if SIGTERM ended the training.
    """
    if "scores" in journal.part(part.name):
        print("done before")
        return True
    bindings = [
        *part.bindings,
        f"TRAIN_STEPS = {steps}",
        f"SEED = {seed}",
        f"EVAL_PERIOD = {period}",
        f"SAVE_PERIOD = {period}",
    ]
    files = ["runs/toyworld.gin", part.method]
    configuration.parse(files, bindings, model_dir=folder)
    _note_interrupted(part, folder, journal)
    began = time.time()
    journal.note(part.name, began=began)
    last = configuration.call("hyperx.runs.train.train")
    seconds = journal.part(part.name).get("seconds", 0.0) + time.time() - began
    journal.note(part.name, seconds=seconds, began=None)
    if last["step"] < steps:  # SIGTERM
        return False
    journal.note(part.name, **_test(folder, steps))
    return True


def _note_interrupted(part: Part, folder: pathlib.Path, journal: Journal) -> None:
    """Counts the time of a training that was killed, up to its last sign of life."""
    entry = journal.part(part.name)
    log = folder / metrics_log.FILE_NAME
    if entry.get("began") and log.exists():
        spent = max(log.stat().st_mtime - entry["began"], 0.0)
        journal.note(part.name, seconds=entry.get("seconds", 0.0) + spent, began=None)


def _test(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Greedy decoding of the held-out instructions under every control."""
    predictor = models.load(folder, step)
    evaluator = configuration.call("hyperx.runs.evaluate.Evaluator")
    results = evaluator.run(
        predictor,
        step=step,
        controls=controls.CONTROLS,
        predictions_dir=folder / "eval",
    )
    scores = {
        name.removesuffix("/exact_match"): value
        for name, value in evaluator.flat(results).items()
    }
    if "shuffled" in scores:
        scores["floor"] = oracle_floor(predictions(folder, "shuffled", step))
    leaves = jax.tree.leaves(predictor.params)
    return {"scores": scores, "parameters": sum(leaf.size for leaf in leaves)}


def predictions(folder: pathlib.Path, control: str, step: int) -> list[dict[str, Any]]:
    """What the model in `folder` said under a control, and what it was asked."""
    path = folder / "eval" / PREDICTIONS.format(control=control, step=step)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
