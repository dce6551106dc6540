"""MetaICL: its texts sign for sign, and its scores by hand."""

import numpy as np
import pytest

from hyperx.data.metaicl import files as metaicl
from hyperx.data.metaicl import formats as metaicl_format
from hyperx.data.metaicl import metrics as metaicl_metrics


def words(text):
    return len(text.split()) + 1


def example(text, output, *options):
    return metaicl.Example(input=text, output=output, options=options)


def test_direct_and_channel_sign_for_sign():
    shown = [example("one", "1"), example("two", "2")]
    asked = [example("three", "3", "3", "33")]

    def rank(form):
        (row,) = metaicl_format.ranking_rows("t", shown, asked, form, words)
        return row

    assert rank(metaicl_format.Format()) == {
        "condition": "one\n1\n\n\ntwo\n2",
        "inputs": "three",
        "prompt": "one\n1\n\n\ntwo\n2\n\n\nthree",
        "targets": "3",
        "choices": ["3", "33"],
        "answer": 0,
        "references": ["3"],
        "task": "t",
        "id": "0",
    }
    assert rank(metaicl_format.Format(channel=True)) == {
        "condition": "1\none\n\n\n2\ntwo",
        "inputs": "3",
        "prompt": "1\none\n\n\n2\ntwo\n\n\n3",
        "targets": "three",
        "choice_inputs": ["3", "33"],
        "choice_prompts": ["1\none\n\n\n2\ntwo\n\n\n3", "1\none\n\n\n2\ntwo\n\n\n33"],
        "answer": 0,
        "references": ["3"],
        "task": "t",
        "id": "0",
    }


def test_long_inputs_are_cut_and_outputs_kept():
    direct = metaicl_format.Format(max_example_tokens=5)
    channel = metaicl_format.Format(max_example_tokens=5, channel=True)
    for form in (direct, channel):
        # Five with an end: four words.
        assert form.fit("a b c d e", "x y", words) == ("a b ", "x y")
        assert form.fit("a b", "x y", words) == ("a b", "x y")
        # What is too long by itself is cut, and leaves no room.
        assert form.fit("a b", "v w x y z", words) == ("", "v w x y ")
    # The longest option decides how much of a question is told.
    asked = [example("a b c d", "x", "x", "x y z")]
    (row,) = metaicl_format.ranking_rows("t", [], asked, direct, words)
    assert (row["inputs"], row["targets"]) == ("a ", "x")
    assert row["choices"] == ["x", "x y z"]


def test_the_first_examples_that_fit_are_told():
    shown = [example("a a", "1"), example("b b b", "2"), example("c", "3")]
    asked = [example("q q", "x", "x", "y")]

    def told(limit):
        form = metaicl_format.Format(max_tokens=limit)
        (row,) = metaicl_format.ranking_rows("t", shown, asked, form, words)
        return " ".join(row["condition"].split()), " ".join(row["prompt"].split())

    # An end, then 3 + 4 + 2 words; the question has two more.
    assert told(10) == ("a a 1 b b b 2 c 3", "a a 1 b b b 2 q q")
    assert told(9)[0] == "a a 1 b b b 2"
    assert told(7) == ("a a 1", "a a 1 q q")
    assert told(5) == ("a a 1", "q q")
    assert told(3) == ("", "q q")


def test_training_episodes_never_show_what_they_ask():
    examples = [example(f"i{n}", f"o{n}") for n in range(30)]

    def draw(**options):
        options = dict(shots=16, queries=4, seed=0, passes=2) | options
        form = metaicl_format.Format()
        return list(metaicl_format.training_rows("t", examples, form, words, **options))

    rows = draw()
    assert len(rows) == len({row["id"] for row in rows}) == 60
    assert sorted(row["inputs"] for row in rows[:30]) == sorted(
        e.input for e in examples
    )
    for row in rows:
        shown = row["condition"].split("\n\n\n")
        assert len(set(shown)) == 16
        assert f"{row['inputs']}\n{row['targets']}" not in shown
        assert row["prompt"] == f"{row['condition']}\n\n\n{row['inputs']}"
        assert row["references"] == [row["targets"]]
    conditions = [row["condition"] for row in rows]
    runs = [conditions[i] for i in range(0, 30, 4)]
    assert [c for c in runs for _ in range(4)][:30] == conditions[:30]
    assert len(set(conditions)) == 16  # 8 in each pass
    assert draw() == rows != draw(seed=1)
    assert draw(passes=1) == rows[:30]


def test_macro_f1_by_hand():
    # A: 1 of 1 predicted and 1 of 3 found, 1/2; B: 1 of 2 and 1 of 1, 2/3; no C.
    said, answers = list("ABCB"), list("AAAB")
    assert metaicl_metrics.macro_f1_score(said, answers) == pytest.approx(7 / 12)
    # A: 1 of 2 and 1 of 1, 2/3; B is never predicted: 0.
    assert metaicl_metrics.macro_f1_score(["A", "A"], ["A", "B"]) == pytest.approx(
        1 / 3
    )
    assert metaicl_metrics.macro_f1_score(["B", "C"], ["A", "A"]) == 0
    assert metaicl_metrics.macro_f1_score(["A", "B"], ["A", "B"]) == 1


def test_macro_f1_differs_from_that_of_scikit_learn():
    said, answers = list("ABCB"), list("AAAB")
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    # There, C counts as a third label, whose F1 is 0.
    assert f1_score(answers, said, average="macro", zero_division=0) == pytest.approx(
        7 / 18
    )
    assert f1_score(answers, said, average="macro", labels=["A", "B"]) == pytest.approx(
        metaicl_metrics.macro_f1_score(said, answers)
    )


def test_options_are_ranked_by_sum_and_by_mean_of_a_token():
    targets = [
        {"choices": ["no ", "yes"], "answer": 1, "lengths": [1, 4]},
        {"choices": ["no ", "yes"], "answer": 0, "lengths": [1, 4]},
        {"choices": ["no ", "yes", "so"], "answer": 1, "lengths": [1, 4, 2]},
    ]
    scores = np.array([[-2, -4, -np.inf], [-2, -9, -np.inf], [-9, -8, -6]])
    # Sums: no, no, so. Means of a token: -2, -1; -2, -9/4; -9, -2, -3: yes, no, yes.
    assert metaicl_metrics.accuracy(targets, scores) == {
        "accuracy": pytest.approx(100 / 3),
        "accuracy_per_token": 100,
    }
    # By sums, F1 is 2/3 of `no` (right 1 of 2 times said, 1 of 1 meant), 0 of `yes`.
    assert metaicl_metrics.macro_f1(targets, scores) == {
        "macro_f1": pytest.approx(100 / 3),
        "macro_f1_per_token": 100,
    }


def test_mean_and_worst_over_seeds():
    values = {"m_a_100": 50, "m_a_13": 70, "m_b_100": 20, "m_b_13": 10}
    assert metaicl_metrics.over_seeds(values, ["m_b_100", "m_b_13"]) == {
        "mean": (60 + 15) / 2,
        "worst": (50 + 10) / 2,
        "m_a/mean": 60,
        "m_a/worst": 50,
        "m_b/mean": 15,
        "m_b/worst": 10,
        "unseen_domain_mean": 15,
        "unseen_domain_worst": 10,
    }
    assert "unseen_domain_mean" not in metaicl_metrics.over_seeds(values)
