"""Evaluation with predictors whose answers are known."""

import json

import numpy as np
import pytest
import seqio
import tensorflow as tf

from hyperx.data import controls, evaluation, metrics

VOCABULARY = seqio.ByteVocabulary()
LENGTHS = {"condition": 10, "inputs": 6, "prompt": 16, "targets": 8}
FEATURES = tuple(LENGTHS)
ROWS = {
    "evaluation_one": [
        # condition, input, target, references
        ("upper", "ab", "AB", ["AB", "A B"]),
        ("upper", "long input", "LONG INPUT", ["LONG INPUT"]),
        ("repeat it twice", "x", "xx", ["xx"]),
    ],
    "evaluation_two": [
        ("upper", "c", "C", ["C"]),
        ("reverse", "de", "ed", ["ed"]),
    ],
}


def _postprocess(text, example, is_target):
    if not is_target:
        return text
    references = [reference.decode() for reference in example["references"]]
    return {"references": references, "task": "t", "category": "c"}


def _dataset(rows):
    def examples():
        for index, (condition, given, target, references) in enumerate(rows):
            yield {
                "condition": condition,
                "inputs": given,
                "prompt": f"{condition}: {given}",
                "targets": target,
                "references": references,
                "task": f"task of {condition}",
                "category": "Strings",
                "id": str(100 + index),
            }

    names = (*FEATURES, "task", "category", "id")
    spec = {name: tf.TensorSpec([], tf.string) for name in names}
    spec["references"] = tf.TensorSpec([None], tf.string)
    return lambda split, shuffle_files, seed=None: tf.data.Dataset.from_generator(
        examples, output_signature=spec
    )


def _add(name, rows, **options):
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(_dataset(rows), splits=["test"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(VOCABULARY, add_eos=True) for f in FEATURES},
        **options,
    )


@pytest.fixture(scope="module", autouse=True)
def registered():
    scores = {"postprocess_fn": _postprocess, "metric_fns": [metrics.generation]}
    for name, rows in ROWS.items():
        _add(name, rows, **scores)
    _add(
        "evaluation_many",
        [(f"c{i}", f"i{i}", f"t{i}", [f"t{i}"]) for i in range(50)],
        metric_fns=[metrics.exact_match],
    )
    _add("evaluation_single", ROWS["evaluation_one"][:2], **scores)
    _add("evaluation_no_metrics", ROWS["evaluation_two"])
    _add("evaluation_empty", [], **scores)
    seqio.MixtureRegistry.add("evaluation_both", list(ROWS), default_rate=1.0)
    yield
    seqio.MixtureRegistry.remove("evaluation_both")
    for name in [n for n in seqio.TaskRegistry.names() if n.startswith("evaluation_")]:
        seqio.TaskRegistry.remove(name)


def tokens(text, length):
    """As a row: end of sequence and padding."""
    ids = [*VOCABULARY.encode(text), 1]
    return ids + [0] * (length - len(ids))


class Gold:
    """Answers from a table of what is read; records what it was shown."""

    def __init__(self, names):
        self.calls = []
        self._answers = {}
        for name in names:
            for condition, given, target, _ in ROWS[name]:
                for text in (given, f"{condition}: {given}"):
                    self._answers[text] = target

    def __call__(self, conditions, encoder_tokens):
        self.calls.append((conditions, encoder_tokens))
        texts = [VOCABULARY.decode(row.tolist()) for row in encoder_tokens]
        answers = [
            next(v for k, v in self._answers.items() if k.startswith(text))
            for text in texts
        ]
        return np.array([tokens(answer, 12) for answer in answers])


def shown(conditions):
    return [VOCABULARY.decode(row.tolist()) for row in conditions]


@pytest.mark.parametrize("reads", ["condition", "prompt", "inputs"])
def test_gold_answers_score_100(reads):
    predict = Gold(["evaluation_one"])
    lengths = LENGTHS | {"prompt": 30}
    run = evaluation.Evaluation("evaluation_one", "test", lengths, reads).run
    scores = run(predict, step=3)
    assert list(scores) == ["evaluation_one"]
    assert set(scores["evaluation_one"].values()) == {100.0}
    assert "rougeL/category/c" in scores["evaluation_one"]
    ((conditions, encoder_tokens),) = predict.calls
    assert (conditions is None) == (reads != "condition")
    assert encoder_tokens.dtype == np.int32
    expected = {"prompt": tokens("upper: ab", 30)}.get(reads, tokens("ab", 6))
    assert encoder_tokens[0].tolist() == expected


def test_tasks_are_told_by_number():
    tasks = ("task of reverse", "task of repeat it twice", "task of upper")

    def make(tasks):
        name = "evaluation_both"
        return evaluation.Evaluation(name, "test", LENGTHS, "task", known_tasks=tasks)

    seen = []

    def predict(conditions, encoder_tokens):
        seen.append(conditions.tolist())
        return np.zeros((len(encoder_tokens), 1), np.int32)

    both = make(tasks)
    both.run(predict, step=0)
    both.run(predict, step=0, control="shuffled")
    assert seen[:2] == [[[2], [2], [1]], [[2], [0]]]
    pairs = [
        (own, other)
        for matched, shuffled in zip(seen[:2], seen[2:], strict=True)
        for own, other in zip(matched, shuffled, strict=True)
    ]
    assert all(own != other for own, other in pairs)
    with pytest.raises(ValueError, match="expected a control of"):
        both.run(predict, step=0, control="empty")
    with pytest.raises(ValueError, match="got one of 'task of reverse'"):
        make(tasks[1:])


def test_rows_keep_their_end_when_cut_and_this_is_counted():
    predict = Gold(["evaluation_one"])
    run = evaluation.Evaluation("evaluation_one", "test", LENGTHS, "condition")
    run.run(predict, step=0)
    conditions, encoder_tokens = predict.calls[0]
    assert encoder_tokens.shape == (3, 6)
    assert conditions.shape == (3, 10)
    assert encoder_tokens[1].tolist() == [*VOCABULARY.encode("long "), 1]
    assert conditions[2].tolist() == [*VOCABULARY.encode("repeat it"), 1]
    assert run.report() == {
        "evaluation_one": {
            "examples": 3,
            "conditions": 2,
            "truncated": {"condition": 1, "inputs": 1, "targets": 1},
        }
    }


def test_controls_change_the_condition_alone():
    predict = Gold(ROWS)
    both = evaluation.Evaluation("evaluation_both", "test", LENGTHS, "condition")
    for control in ("matched", "shuffled", "empty"):
        both.run(predict, step=0, control=control)
    matched, shuffled, empty = (
        [shown(conditions) for conditions, _ in predict.calls[i : i + 2]]
        for i in (0, 2, 4)
    )
    # Distinct conditions of both tasks, in order: upper, repeat it, reverse.
    assert matched == [["upper", "upper", "repeat it"], ["upper", "reverse"]]
    assert shuffled == [["repeat it", "repeat it", "reverse"], ["repeat it", "upper"]]
    assert empty == [[""] * 3, [""] * 2]
    assert predict.calls[4][0][0].tolist() == [1] + [0] * 9
    for first, second in ((0, 2), (0, 4), (1, 3), (1, 5)):
        np.testing.assert_array_equal(predict.calls[first][1], predict.calls[second][1])


def test_mixture_scores_each_task():
    both = evaluation.Evaluation("evaluation_both", "test", LENGTHS, "condition")
    gold = Gold(ROWS)

    def half_right(conditions, encoder_tokens):
        answers = gold(conditions, encoder_tokens)
        answers[0] = tokens("wrong", 12)
        return answers

    scores = both.run(half_right, step=0)
    assert scores["evaluation_one"]["exact_match"] == pytest.approx(200 / 3)
    assert scores["evaluation_two"]["exact_match"] == pytest.approx(50)
    assert both.run(gold, step=1)["evaluation_two"]["exact_match"] == 100


def test_predictions_are_written(tmp_path):
    log_dir = tmp_path / "not" / "there"
    run = evaluation.Evaluation(
        "evaluation_one", "test", LENGTHS, "condition", log_dir=log_dir
    ).run
    gold = Gold(["evaluation_one"])
    for _ in range(2):  # A second run replaces the file.
        run(gold, step=7)
    run(gold, step=7, control="shuffled")
    run(gold, step=7, control="empty")
    assert sorted(path.name for path in log_dir.iterdir()) == [
        f"evaluation_one-test-{control}-7.jsonl"
        for control in ("empty", "matched", "shuffled")
    ]

    def lines(control):
        path = log_dir / f"evaluation_one-test-{control}-7.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    matched = lines("matched")
    assert len(matched) == 3
    assert matched[0] == {
        "task": "task of upper",
        "id": "100",
        "category": "Strings",
        "condition": "upper",
        "input": "ab",
        "prediction": "AB",
        "references": ["AB", "A B"],
        "exact_match": 1,
        "rougeL": 1,
    }
    assert lines("shuffled")[0]["condition"] == "repeat it twice"
    assert lines("empty")[0]["condition"] == ""


def test_a_draw_of_examples_stays_the_same():
    inputs = []

    def predict(conditions, encoder_tokens):
        texts = shown(encoder_tokens)
        inputs.append(texts)
        return np.array([tokens(text.replace("i", "t"), 5) for text in texts])

    few = evaluation.Evaluation("evaluation_many", "test", LENGTHS, "inputs", 8)
    for step in range(2):
        scores = few.run(predict, step=step)
        assert scores == {"evaluation_many": {"exact_match": 100}}
    again = evaluation.Evaluation("evaluation_many", "test", LENGTHS, "inputs", 8)
    again.run(predict, step=0)
    assert inputs[0] == inputs[1] == inputs[2] != [f"i{i}" for i in range(8)]
    assert len(set(inputs[0])) == 8


def test_misuse():
    def make(name="evaluation_single", split="test", reads="condition", **lengths):
        return evaluation.Evaluation(name, split, LENGTHS | lengths, reads)

    single, inputs = make(), make(reads="inputs")
    gold = Gold(["evaluation_one"])
    with pytest.raises(ValueError, match=r"two or more distinct.*got only 'upper'"):
        single.run(gold, step=0, control="shuffled")
    with pytest.raises(ValueError, match=r"a control of \('matched',\) for a model"):
        inputs.run(gold, step=0, control="empty")
    with pytest.raises(ValueError, match=r"expected a control of .*got 'none'"):
        single.run(gold, step=0, control="none")
    with pytest.raises(ValueError, match=r"\[2, T\], got float64 \[2, 3\]"):
        single.run(lambda *_: np.zeros((2, 3)), step=0)
    with pytest.raises(ValueError, match=r"\[2, T\], got int32 \[1, 3\]"):
        single.run(lambda *_: np.zeros((1, 3), np.int32), step=0)
    with pytest.raises(ValueError, match=r"expected reads to be one of .*got 'all'"):
        make(reads="all")
    with pytest.raises(ValueError, match=r"the split 'train', got .*'test'"):
        make(split="train")
    with pytest.raises(ValueError, match="with metrics"):
        make("evaluation_no_metrics")
    with pytest.raises(ValueError, match=r"expected examples .*got none"):
        make("evaluation_empty")
    lengths = {"inputs": 6, "targets": 6}
    with pytest.raises(ValueError, match=r"lengths .*'condition'.*got .*inputs"):
        evaluation.Evaluation("evaluation_single", "test", lengths, "condition")


def test_controls_without_seqio():
    rows = {"a": np.array([[3, 1], [4, 1]]), "b": np.array([[5, 1], [3, 1]])}
    texts = {"a": ["x", "y"], "b": ["z", "x"]}
    conditions = controls.Conditions(rows, texts, eos_id=1)
    assert conditions.shown("b", "matched")[1] == ["z", "x"]
    assert conditions.shown("b", "shuffled")[1] == ["x", "y"]
    assert conditions.shown("b", "shuffled")[0].tolist() == [[3, 1], [4, 1]]
    assert (conditions.count("a"), conditions.count("b")) == (2, 2)
