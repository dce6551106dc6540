"""Tuning: from a generated adaptation to a better one, with a task's own examples."""

import os
import pathlib
from collections.abc import Mapping

import jax

from hyperx.inference import starts
from hyperx.inference.predictor import Predictor
from hyperx.runs import models
from hyperx.runs.adapt import check_folder
from hyperx.runs.tuning import data as data_lib
from hyperx.runs.tuning import report as report_lib
from hyperx.runs.tuning.tuner import Tuned, Tuner
from hyperx.task_state import TaskState, load_state

INITS = ("generated", "shared", "random")

PathLike = str | os.PathLike[str]


def tune(
    *,
    model_dir: PathLike,
    state: PathLike,
    data: PathLike,
    output: PathLike,
    validation: PathLike | None = None,
    init: str = "generated",
    compare: bool = False,
    shared_conditions: PathLike | None = None,
    target_loss: float | None = None,
    steps: int = 200,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    eval_period: int = 10,
    seed: int = 0,
    step: int | None = None,
) -> dict[str, Tuned]:
    """Trains the weights of a task state on examples of its task.

    Only the parts move, as in ordinary parameter-efficient fine-tuning: backbone,
    hypernetwork and the fused condition stay as they are. Of all states that are
    measured the one with the lowest loss is kept.

    Args:
        model_dir: of the model that made the state.
        state: path of a state of one condition, as ``hyperx adapt`` writes it.
        data: path of a JSONL file with ``input`` and ``output`` on every line.
        output: path of the tuned state; replaced once it is complete.
        validation: as `data`, for the measurements; they are made on `data` if None.
        init: what is tuned. ``generated``: the state itself; ``shared``: the mean of
            the states of other conditions; ``random``: the initial values of ordinary
            fine-tuning. The fused condition is that of the state in all of them.
        compare: tune all of these from the same examples in the same order, and write
            their curves as a picture and as JSON beside the output.
        shared_conditions: path of a text file with the conditions that are averaged,
            one per line; without it there is no shared start.
        target_loss: a loss of which to report when it is reached; by default the first
            loss of the state itself, and the one that all starts reach.
        steps: updates; 0 for none.
        batch_size: examples per update.
        learning_rate: the highest of a cosine schedule.
        eval_period: updates between measurements.
        seed: of the order of the examples and of random starts.
        step: of the model's checkpoint; the newest if None.

    Returns:
        What came of every start.

    Raises:
        FileNotFoundError: for a file that does not exist.
        FloatingPointError: if tuning diverged; the best state before is written.
        ValueError: for malformed examples, or a state that cannot be tuned.
    """
    check_folder(output)
    given = load_state(state)
    predictor = models.load(model_dir, step)
    tuner = Tuner(
        predictor, steps=steps, batch_size=batch_size, eval_period=eval_period
    )
    tuner.check(given)
    rows = data_lib.read(data, predictor)
    held_out = rows if validation is None else data_lib.read(validation, predictor)
    others = None
    if shared_conditions is not None:
        others = _conditions(shared_conditions, predictor)
    train, measured = (data_lib.tokenize(predictor, part) for part in (rows, held_out))

    results = {}
    for name in _names(init, compare, others is not None):
        start = _start(name, given, predictor, others, seed)
        results[name] = tuner.run(
            start, train, measured, learning_rate=learning_rate, seed=seed, name=name
        )
        if name == init:  # At once: another start may fail.
            results[name].state.save(output)
    targets = _targets(results, target_loss)
    report_lib.show(results, targets, _measured_on(validation, len(held_out)))
    if compare:
        stem = pathlib.Path(output).with_suffix("")
        report_lib.write(results, targets, f"{stem}_compare.json")
        report_lib.draw(results, targets, f"{stem}_compare.png")
        print(f"curves: {stem}_compare.png, {stem}_compare.json")
    print(f"tuned state: {output}")
    _check_converged(results[init], output)
    return results


def _names(init: str, compare: bool, shared: bool) -> list[str]:
    """The starts to tune."""
    if init not in INITS:
        raise ValueError(f"expected init to be one of {INITS}, got {init!r}")
    if init == "shared" and not shared:
        raise ValueError("expected shared_conditions for a shared start, got none")
    if not compare:
        return [init]
    return [name for name in INITS if name != "shared" or shared]


def _start(
    name: str,
    given: TaskState,
    predictor: Predictor,
    others: list[str] | None,
    seed: int,
) -> TaskState:
    """One of `INITS`; all with the memory of the given state."""
    if name == "random":
        return starts.random(given, jax.random.key(seed))
    if name == "shared":
        # One by one: the memories of many conditions are large and not needed.
        states = [predictor.adapt(text).replace(memory=None) for text in others]
        return starts.mean(states).replace(memory=given.memory)
    return given


def _conditions(path: PathLike, predictor: Predictor) -> list[str]:
    """The conditions of a shared start."""
    if not predictor.conditioned:
        raise ValueError(
            "expected no shared_conditions for a model that reads "
            f"{predictor.config.method.reads!r}: its state is the same for all"
        )
    lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    conditions = [line.strip() for line in lines if line.strip()]
    if not conditions:
        raise ValueError(f"expected conditions, one per line, in {path}, got none")
    for condition in conditions:
        predictor.check_condition(condition)
    return conditions


def _targets(results: Mapping[str, Tuned], loss: float | None) -> dict[str, float]:
    """Losses to report on, by what they are."""
    if loss is not None:
        return {"target loss": loss}
    if len(results) == 1:
        return {}
    return {
        "generated at step 0": results["generated"].curve[0].loss,
        "reached by all": max(tuned.best.loss for tuned in results.values()),
    }


def _measured_on(validation: PathLike | None, count: int) -> str:
    """What the measurements were made on, in words."""
    what = "the training data" if validation is None else "validation data"
    return f"{what}, {count:,} example{'s' if count > 1 else ''}"


def _check_converged(tuned: Tuned, output: PathLike) -> None:
    """Reports that what was asked for diverged; what is good of it is written."""
    if tuned.diverged is not None:
        raise FloatingPointError(
            f"expected finite losses, got none at step {tuned.diverged}: try a lower "
            f"learning rate; {output} holds the best state before, that of step "
            f"{tuned.best.step}"
        )
