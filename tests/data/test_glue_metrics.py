"""Scores of GLUE and SuperGLUE by hand, and their averages by published rows."""

import math

import numpy as np
import pytest

from hyperx.data.glue import metrics as glue_metrics
from hyperx.data.glue import tasks as glue_tasks
from hyperx.tasks import glue as glue_task_module
from hyperx.tasks import super_glue as super_glue_task_module

LABELS = ("no", "yes")


def targets(numbers, labels=LABELS, groups=None):
    groups = groups or [str(i) for i in range(len(numbers))]
    return [
        {"references": [labels[n]], "labels": labels, "label": n, "group": group}
        for n, group in zip(numbers, groups, strict=True)
    ]


def test_accuracy_and_matthews():
    right = targets([1, 1, 1, 0, 0, 0])
    said = ["yes", "yes", "no", "no", "no", "yes"]
    assert glue_metrics.accuracy(right, said) == {"accuracy": pytest.approx(400 / 6)}
    # (2 * 2 - 1 * 1) / sqrt(3 * 3 * 3 * 3)
    assert glue_metrics.matthews(right, said) == {"matthews": pytest.approx(100 / 3)}
    assert glue_metrics.matthews(right, ["no"] * 6) == {"matthews": 0}


def test_what_is_no_label_is_wrong():
    right = targets([1, 1, 0, 0])
    said = ["yes", "Yes", "no", ""]
    assert glue_metrics.accuracy(right, said) == {"accuracy": 50}
    # As if said: yes, no, no, yes. Precision and recall are a half.
    assert glue_metrics.f1_accuracy(right, said) == {
        "f1": 50,
        "accuracy": 50,
        "mean": 50,
    }


def test_macro_f1_counts_every_label_alike():
    labels = ("entailment", "contradiction", "neutral")
    right = targets([0, 0, 1, 2], labels)
    said = ["entailment", "?", "contradiction", "entailment"]
    # F1: entailment 2 * 1 / (2 + 2), contradiction 1, neutral 0.
    assert glue_metrics.macro_f1_accuracy(right, said) == {
        "macro_f1": pytest.approx(50),
        "accuracy": 50,
        "mean": pytest.approx(50),
    }


def test_correlations():
    right = [{"references": [text]} for text in ("1.0", "2.0", "3.0")]
    scores = glue_metrics.correlations(right, ["2.0", "1.0", "3.0"])
    expected = {"pearson": 50, "spearman": 50, "mean": 50}
    assert scores == pytest.approx(expected)
    # No number is -1: (1, -1), (2, 3), (3, 4).
    scores = glue_metrics.correlations(right, ["three", "3.0", "4.0"])
    assert scores["pearson"] == pytest.approx(100 * 5 / math.sqrt(2 * 14))
    assert scores["spearman"] == pytest.approx(100)
    assert glue_metrics.correlations(right, ["nan", "3.0", "4.0"]) == scores
    constant = glue_metrics.correlations(right, ["1.0"] * 3)
    assert all(math.isnan(score) for score in constant.values())


def test_multirc_by_question():
    right = targets([1, 0, 1, 1], groups=["0/0", "0/0", "0/1", "1/1"])
    said = ["yes", "no", "no", "yes"]
    # Precision 1, recall 2/3; two of three questions.
    assert glue_metrics.multirc(right, said) == pytest.approx(
        {"f1": 80, "exact_match": 200 / 3, "mean": (80 + 200 / 3) / 2}
    )


def test_record_is_the_best_over_answers_once_a_query():
    right = [
        {"references": ["the New York Times", "Times"], "group": "0/0"},
        {"references": ["the New York Times", "Times"], "group": "0/0"},
        {"references": ["Bob"], "group": "0/1"},
    ]
    assert glue_metrics.record(right, ["times.", "x", "Bob Ray"]) == pytest.approx(
        {"f1": 100 * (1 + 2 / 3) / 2, "exact_match": 50, "mean": (500 / 6 + 50) / 2}
    )


@pytest.mark.parametrize(
    ("said", "candidate", "same"),
    [
        ("The bunny", "his fuzzy bunny", True),
        ("fuzzy bunny", "Bunny", True),
        ("bunny rabbit", "fuzzy bunny", False),
        ("Bob", "Bob's hat", False),
        ("Bob's", "Bob's hat", True),
        ("", "Bob", None),
        (" the ", "Bob", None),
    ],
)
def test_the_same_referent(said, candidate, same):
    assert glue_metrics.same_referent(said, candidate) is same


def test_referents():
    right = [{"references": ["Bob"], "label": label} for label in (1, 1, 0, 0, 0)]
    said = ["bob", "Tom", "Tom", "Bob", ""]
    assert glue_metrics.referents(right, said) == {"accuracy": 40}


def test_ranked_metrics_take_the_best_choice():
    right = [
        target | {"choices": list(choices)}
        for target, choices in zip(
            targets([1, 1, 0]), (LABELS, LABELS, LABELS), strict=True
        )
    ]
    metric = glue_metrics.ranked(glue_metrics.f1_accuracy)
    scores = np.array([[-2.0, -1.0], [-1.0, -2.0], [-1.0, -np.inf]])
    said = ["yes", "no", "no"]
    assert metric(right, scores) == glue_metrics.f1_accuracy(right, said)
    record = glue_metrics.ranked(glue_metrics.record)
    query = {"references": ["Bo"], "group": "0/0", "choices": ["Al", "Bo", "Cy"]}
    assert record([query], np.array([[-3.0, -1.0, -2.0]]))["f1"] == 100


def of(benchmark, values):
    return benchmark.of(
        {
            task: {benchmark.metrics()[task]: value if value is not None else 0}
            for task, value in values.items()
        },
        allow_missing=True,
    )


def test_both_averages_of_a_published_row():
    """Hyperdecoders' README, GLUE: 86.5 by its own average, 87.64 by HyperFormer's."""
    row = {
        "cola": 58.7,
        "sst2": 95.9,
        "stsb": (91.8 + 92.0) / 2,
        "mrpc": (89.2 + 92.0) / 2,
        "qqp": (91.1 + 88.3) / 2,
        "mnli": 90.0,
        "qnli": 94.2,
        "rte": 80.8,
    }
    glue, ranked = glue_task_module.BENCHMARKS
    figures = of(glue, {f"glue_{name}": value for name, value in row.items()})
    assert round(figures["mean_over_tasks"], 1) == 86.5
    assert round(figures["mean_over_metrics"], 2) == 87.64
    values = {f"glue_{name}_ranked": value for name, value in row.items()}
    assert of(ranked, values) == pytest.approx(figures)


def test_mismatched_questions_are_a_half_of_mnli():
    glue, _ = glue_task_module.BENCHMARKS
    values = {"glue_mnli": 90.0, "glue_mnli_mismatched": 80.0, "glue_rte": 65.0}
    assert of(glue, values) == {
        "mean_over_tasks": (85 + 65) / 2,
        "mean_over_metrics": (90 + 65) / 2,
    }
    with pytest.raises(ValueError, match="glue_cola/matthews"):
        glue.of({"glue_rte": {"accuracy": 65.0}})


def test_super_glue_averages():
    benchmark, _ = super_glue_task_module.BENCHMARKS
    names = super_glue_task_module.task_names()
    values = {name: 100.0 if name.endswith("cb") else 0.0 for name in names}
    assert len(values) == 8
    assert of(benchmark, values) == pytest.approx(
        {"mean_over_tasks": 100 / 8, "mean_over_metrics": 200 / 11}
    )
    assert set(benchmark.metrics()) == set(names)


def test_the_figure_that_counts_is_of_the_metric():
    """Every member's metric gives the figure that its benchmark asks for."""
    right = [
        {"references": [text], "labels": ("1.0", "2.0"), "label": n, "group": "0/0"}
        for n, text in enumerate(("1.0", "2.0"))
    ]
    members = (*glue_task_module.MEMBERS, *super_glue_task_module.MEMBERS)
    for member in (*members, super_glue_task_module.WSC_REFERENT):
        assert isinstance(member, glue_tasks.Member)
        figures = member.metric(right, ["1.0", "2.0"])
        others = set(figures) - {"mean"}
        assert member.counts in figures
        assert member.weight in (len(others), 0)
        assert member.counts == "mean" or others == {member.counts}
