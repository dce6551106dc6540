"""Scores against hand-computed cases and against rouge_score itself."""

import random

import numpy as np
import pytest
from rouge_score import rouge_scorer

from hyperx.data import metrics

WORDS = [
    "the",
    "running",
    "runner",
    "runs,",
    "cats'",
    "cat",
    "Über-cool",
    "42",
    "answers",
    "answer",
    "A.",
    "no",
    "yes",
]


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("Yes.", ["yes"], 1),
        ("  the   Cat ", ["no", "The cat!"], 1),
        ("cat", ["the cat"], 0),  # Articles stay.
        ("don't", ["dont"], 1),
        ("Ja, ü", ["ja Ü"], 1),
        ("a\tb\nc", ["a b c"], 1),
        ("“a”", ["a"], 0),  # Only ASCII punctuation goes.
        ("", ["."], 1),
    ],
)
def test_exact_match_score(prediction, references, expected):
    assert metrics.exact_match_score(prediction, references) == expected


def test_rouge_l_by_hand():
    # LCS "the cat sat" = 3 of 3 predicted and of 6 expected: F = 2 * 3 / 9.
    score = metrics.rouge_l_score("The cat sat", ["no", "the cat sat on the mat"])
    assert score == pytest.approx(2 / 3)
    assert metrics.rouge_l_score("running", ["runs"]) == 1  # Stems.
    assert metrics.rouge_l_score("", ["a"]) == 0
    assert metrics.rouge_l_score("да", ["да"]) == 0  # No token of [a-z0-9].


def test_rouge_l_equals_the_library():
    rng = random.Random(0)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(30))) for _ in range(400)]
    predictions, references = texts[:100], [texts[100 + i :: 100] for i in range(100)]
    expected = [
        max(scorer.score(reference, text)["rougeL"].fmeasure for reference in several)
        for text, several in zip(predictions, references, strict=True)
    ]
    scores = metrics.rouge_l_batch(predictions, references)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert 0 < scores.mean() < 1


def test_generation_groups_by_category_and_task():
    targets = [
        {"references": ["yes", "yeah"], "task": "t1", "category": "QA"},
        {"references": ["no"], "task": "t2", "category": "QA"},
        {"references": ["a b"], "task": "t3", "category": "Title Generation"},
        {"references": ["c"], "task": "t3", "category": "Title Generation"},
    ]
    assert metrics.generation(targets, ["Yeah!", "yes", "a", "d"]) == pytest.approx(
        {
            "rougeL": 100 * (1 + 0 + 2 / 3 + 0) / 4,
            "exact_match": 25,
            "rougeL/category/QA": 50,
            "exact_match/category/QA": 50,
            "rougeL/category/Title Generation": 100 / 3,
            "exact_match/category/Title Generation": 0,
            "rougeL/task/t1": 100,
            "exact_match/task/t1": 100,
            "rougeL/task/t2": 0,
            "exact_match/task/t2": 0,
            "rougeL/task/t3": 100 / 3,
            "exact_match/task/t3": 0,
        }
    )


def test_exact_match_takes_one_or_several_references():
    targets = ["a", ["b", "c"], {"references": ["d"]}, "e"]
    assert metrics.exact_match(targets, ["A", "c", "d.", "f"]) == {"exact_match": 75}


def test_misuse():
    with pytest.raises(ValueError, match="at least one reference, got none"):
        metrics.exact_match([[]], ["a"])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        metrics.exact_match(["a"], ["a", "b"])
