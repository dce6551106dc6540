"""Summaries of findings made up by hand: averages, best checkpoints, and their text."""

import dataclasses
import math

import pytest

from hyperx.data import averages
from hyperx.runs.evaluation import page as page_lib
from hyperx.runs.evaluation import report as report_lib
from hyperx.runs.evaluation.findings import Finding, Unit
from hyperx.runs.evaluation.job import NO_OTHER
from hyperx.runs.evaluation.summary import Summary

# By task: the metric's value at the checkpoints 0, 10 and 20.
VALUES = {"x_1": (40.0, 60.0, 50.0), "x_2": (30.0, 10.0, 30.0), "y": (0.0, 90.0, 70.0)}
STEPS = (0, 10, 20)
DATA = {"examples": 1200, "conditions": 2, "truncated": {"inputs": 3, "targets": 0}}


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.setattr(averages, "_BENCHMARKS", {})


def findings(values=VALUES, controls=("matched",)):
    for control in controls:
        for task, of_task in values.items():
            for step, value in zip(STEPS, of_task, strict=True):
                metrics = {"accuracy": value, "accuracy/category/A|B": 1.25}
                if value is not None:
                    yield Finding(
                        unit=Unit(step, task, control),
                        metrics=metrics,
                        data=DATA,
                        seconds=1.0,
                    )


def summary(found=None, **options):
    fields = dict(
        model="out",
        method="Hint",
        name="mix",
        split="test",
        num_examples=None,
        tasks=tuple(VALUES),
        findings=list(findings() if found is None else found),
        missing={},
        allow_missing=False,
    )
    return Summary(**fields | options)


def register(name, members, average=averages.mean, title=""):
    (benchmark,) = averages.register(
        [averages.Benchmark(name, members, average, title)]
    )
    return benchmark


def test_best_checkpoints_by_hand():
    found = summary()
    tasks, *_ = found.benchmarks()
    means = [found.headline(tasks, step) for step in STEPS]
    assert means == [70 / 3, 160 / 3, 50]
    assert found.best_step(tasks) == 10
    best = [(b.task, b.step, b.value) for b in found.best_per_task()]
    # Of equally good ones the earlier.
    assert best == [("x_1", 10, 60), ("x_2", 0, 30), ("y", 10, 90)]
    pair = register("pair", [("x_1", "accuracy"), ("x_2", "accuracy")])
    assert [found.headline(pair, step) for step in STEPS] == [35, 35, 40]
    assert found.best_step(pair) == 20


def test_what_is_no_number_is_never_best():
    found = summary(findings(VALUES | {"y": (1.0, math.nan, 2.0)}))
    tasks, *_ = found.benchmarks()
    assert found.best_step(tasks) == 20
    assert [best.step for best in found.best_per_task()] == [10, 0, 20]
    report_lib.markdown(found)


def test_the_first_figure_counts_where_there_is_no_mean():
    figures = register("f", [("y", "accuracy")], lambda v: {"low": -v["y"], "a": 1.0})
    assert summary().headline(figures, 10) == -90
    assert summary().best_step(figures) == 0


def test_the_metric_of_a_benchmark_is_the_main_one():
    assert summary().main_metric("y") == "accuracy"
    register("f", [("y", "accuracy/category/A|B")])
    assert summary().main_metric("y") == "accuracy/category/A|B"
    assert summary().main_metric("x_1") == "accuracy"
    assert summary().main_metric("unknown") is None


def test_a_member_that_is_missing_is_told_or_refused():
    values = VALUES | {"y": (None, 90.0, 70.0)}
    found = summary(findings(values), missing={"z": "no file"})
    tasks, *_ = found.benchmarks()
    average = found.average(tasks, 0, "matched")
    assert average.figures is None
    assert average.missing == ["y/accuracy"]
    assert found.best_step(tasks) == 10
    allowed = dataclasses.replace(found, allow_missing=True)
    average = allowed.average(tasks, 0, "matched")
    assert average.figures == {"mean": 35}
    assert (average.missing, average.members) == (["y/accuracy"], 3)
    assert "z: no file" in report_lib.markdown(found)


def test_a_task_without_a_control_is_told():
    lacking = Finding(
        unit=Unit(0, "y", "shuffled"), metrics={}, data=DATA, seconds=0, lacks=NO_OTHER
    )
    shuffled = (f for f in findings(controls=["shuffled"]) if f.unit.task != "y")
    found = summary([*findings(), *shuffled, lacking])
    text = report_lib.markdown(found)
    assert f"y shuffled: {NO_OTHER}" in text
    assert "(shuffled): not averaged, 1 of 3 members are missing: y/accuracy" in text
    assert found.results(0)["shuffled"].keys() == {"x_1", "x_2"}


def test_text_of_one_checkpoint():
    one = [f for f in findings() if f.unit.step == 10 and f.unit.task != "y"]
    title = "a & b"
    register(
        "f",
        [("x_1", "accuracy"), ("x_2", "accuracy")],
        lambda v: {"x": 1.0, "x/max": v["x_1"], "x/min": v["x_2"], "mean": 35.0},
        title,
    )
    found = summary(one, tasks=("x_1", "x_2"), num_examples=5)
    assert report_lib.markdown(found) == TEXT
    page = page_lib.page(found)
    assert "<td>a &amp; b</td>" in page
    assert '<td class="number">60.0</td>' in page


TEXT = """\
# Evaluation of out

Hint, checkpoint 10, on 2 tasks (mix), split test, at most 5 examples of each.

## Averages

|  | figure | checkpoint | matched |
| :-- | :-- | :-- | --: |
| mean over the 2 tasks | mean | 10 | 35.0 |
| a & b | x | 10 | 1.0 |
|  | mean | 10 | 35.0 |

| a & b, matched | max | min |
| :-- | --: | --: |
| x | 60.0 | 10.0 |

## Tasks

| task | metric | matched | examples | conditions | cut |
| :-- | :-- | --: | --: | --: | --: |
| x_1 | accuracy | 60.0 | 1,200 | 2 | 3 inputs |
| x_2 | accuracy | 10.0 | 1,200 | 2 | 3 inputs |

## x_1: accuracy by category

|  | matched |
| :-- | --: |
| A\\|B | 1.2 |

## x_2: accuracy by category

|  | matched |
| :-- | --: |
| A\\|B | 1.2 |
"""


def test_best_checkpoints_stand_out():
    text = report_lib.markdown(summary())
    assert "| 10 | **53.3** |" in text
    assert "| x_2 | accuracy | 0 | 30.0 | 10.0 |" in text
    assert "| mean of 3 |  |  | 60.0 | 53.3 |" in text
    assert "<b>53.3</b>" in page_lib.page(summary())


def test_the_picture_takes_gaps_and_many_tasks():
    values = VALUES | {"y": (None, 90.0, 70.0)}
    many = {f"t{number}": VALUES["y"] for number in range(9)}
    for found, tasks in ((values, tuple(values)), (many, tuple(many))):
        picture = page_lib.picture(summary(findings(found), tasks=tasks))
        assert picture.startswith(b"\x89PNG")
