"""What is asked of a model: tasks, controls and settings."""

import types

import pytest

from hyperx.data import evaluation_tasks
from hyperx.runs.evaluate import Evaluator, evaluate

LENGTHS = {"condition": 4, "inputs": 3, "targets": 4}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    found = {"t": ("t",), "mixture": ("a", "b", "c")}

    def of(which, splits):
        return dict.fromkeys(found[which], splits[0])

    monkeypatch.setattr(evaluation_tasks, "of", of)


def evaluator(name="t", **options):
    return Evaluator(mixture_or_task_name=name, feature_lengths=LENGTHS, **options)


def test_flat_names_keep_tasks_apart_only_where_there_are_several():
    one = {"matched": {"a": {"em": 1, "em/category/x": 2}}, "empty": {"a": {"em": 0}}}
    assert evaluator().flat(one) == {"matched/em": 1.0, "empty/em": 0.0}
    two = {"matched": {"a": {"em": 1}, "b": {"em": 3}}}
    assert evaluator().flat(two) == {"matched/a/em": 1.0, "matched/b/em": 3.0}


def test_models_that_read_no_condition_are_evaluated_matched_alone(monkeypatch):
    asked = evaluator("mixture")
    prepared = types.SimpleNamespace(run=lambda *args, control, **kwargs: {"em": 1.0})
    monkeypatch.setattr(asked, "data", lambda *args: prepared)
    controls = ("matched", "shuffled", "empty")
    possible = {"condition": controls, "task": controls[:2], "prompt": controls[:1]}
    for reads, expected in possible.items():
        method = types.SimpleNamespace(reads=reads, tasks=())
        predictor = types.SimpleNamespace(config=types.SimpleNamespace(method=method))
        found = asked.run(predictor, step=0, controls=controls)
        assert tuple(found) == expected
        for tasks in found.values():
            assert tasks == {task: {"em": 1.0} for task in "abc"}


def test_settings_are_all_that_decides_over_metrics():
    base = evaluator("mixture").settings("b", "matched")
    assert base == evaluator("mixture", groups=2, rows=2).settings("b", "matched")
    for other in (
        evaluator("mixture", num_examples=3).settings("b", "matched"),
        evaluator("mixture", split="dev").settings("b", "matched"),
        evaluator("mixture", max_new_tokens=9).settings("b", "matched"),
        evaluator("mixture").settings("c", "matched"),
        evaluator("mixture").settings("b", "empty"),
    ):
        assert other != base
    # Only a shuffled condition may be another task's.
    shuffled = [evaluator("mixture").settings(t, "shuffled") for t in "abc"]
    assert len({s["others"] for s in shuffled}) == 3
    assert evaluator("mixture").others("b") == {"c": "test", "a": "test"}
    assert evaluator("t").others("t") == {}


def test_names_of_files_have_no_odd_signs():
    assert evaluator("t").name == "t"
    name = "p3_(copa|rte)_.*"
    assert evaluator(name).name == "p3__copa_rte__._"


def test_conditions_that_devices_cannot_share_are_refused_before_anything_is_read():
    evaluator = types.SimpleNamespace(groups=6)
    expected = "expected EVAL_GROUPS, .* to divide by 4, .* got 6"
    with pytest.raises(ValueError, match=expected):
        evaluate(model_dir="nowhere", evaluator=evaluator, model_parallel=2)
