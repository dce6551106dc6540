"""Evaluation of models whose answers are known."""

import numpy as np
import pytest
import seqio
from evaluation_examples import (
    LENGTHS,
    VOCABULARY,
    add,
    examples,
    prepare,
    read_lines,
    shown,
    tokens,
)

from hyperx.data import controls, evaluation, evaluation_tasks, metrics

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


def likely(targets, predictions, aux_values):
    """A metric of text and log-probability."""
    del targets
    said = "".join(predictions)
    return {"sum": sum(aux_values["scores"]), "length": len(said)}


@pytest.fixture(scope="module", autouse=True)
def registered():
    scores = {"postprocess_fn": _postprocess, "metric_fns": [metrics.generation]}
    for name, rows in ROWS.items():
        add(name, examples(rows), **scores)
    many = [(f"c{i}", f"i{i}", f"t{i}", [f"t{i}"]) for i in range(50)]
    add("evaluation_many", examples(many), metric_fns=[metrics.exact_match])
    add("evaluation_single", examples(ROWS["evaluation_one"][:2]), **scores)
    add("evaluation_third", examples([("pick", "a", "b", ["b"])]), **scores)
    add("evaluation_no_metrics", examples(ROWS["evaluation_two"]))
    add("evaluation_empty", [], **scores)
    add("evaluation_aux", examples(ROWS["evaluation_one"]), metric_fns=[likely])
    seqio.MixtureRegistry.add("evaluation_both", list(ROWS), default_rate=1.0)
    yield
    seqio.MixtureRegistry.remove("evaluation_both")
    for name in [n for n in seqio.TaskRegistry.names() if n.startswith("evaluation_")]:
        seqio.TaskRegistry.remove(name)


class Gold:
    """Answers from a table of what is read; records what it was shown."""

    def __init__(self, names=ROWS):
        self.calls = []
        self._answers = {}
        for name in names:
            for condition, given, target, _ in ROWS[name]:
                for text in (given, f"{condition}: {given}"):
                    self._answers[text] = target

    def generate(self, conditions, encoder_tokens):
        self.calls.append((conditions, encoder_tokens))
        texts = [VOCABULARY.decode(row.tolist()) for row in encoder_tokens]
        answers = [
            next(v for k, v in self._answers.items() if k.startswith(text))
            for text in texts
        ]
        said = np.array([tokens(answer, 12) for answer in answers])
        return said, -np.arange(len(said)) - 1.0


@pytest.mark.parametrize("reads", ["condition", "prompt", "inputs"])
def test_gold_answers_score_100(reads):
    model = Gold(["evaluation_one"])
    run = prepare(reads=reads, lengths=LENGTHS | {"prompt": 30}).run
    scores = run(model, step=3)
    assert set(scores.values()) == {100.0}
    assert "rougeL/category/c" in scores
    ((conditions, encoder_tokens),) = model.calls
    assert (conditions is None) == (reads != "condition")
    assert encoder_tokens.dtype == np.int32
    expected = {"prompt": tokens("upper: ab", 30)}.get(reads, tokens("ab", 6))
    assert encoder_tokens[0].tolist() == expected


def test_tasks_are_told_by_number():
    tasks = ("task of reverse", "task of repeat it twice", "task of upper")
    seen = []

    class Silent:
        def generate(self, conditions, encoder_tokens):
            seen.append(conditions.tolist())
            count = len(encoder_tokens)
            return np.zeros((count, 1), np.int32), np.zeros(count)

    for name in ROWS:
        one = prepare(name, "task", known_tasks=tasks)
        for control in ("matched", "shuffled"):
            one.run(Silent(), step=0, control=control)
        with pytest.raises(ValueError, match="expected a control of"):
            one.run(Silent(), step=0, control="empty")
    assert seen == [[[2], [2], [1]], [[1], [1], [2]], [[2], [0]], [[0], [2]]]
    with pytest.raises(ValueError, match="got one of 'task of reverse'"):
        prepare("evaluation_two", "task", known_tasks=tasks[1:])


def test_rows_keep_their_end_when_cut_and_this_is_counted():
    model, one = Gold(["evaluation_one"]), prepare()
    one.run(model, step=0)
    conditions, encoder_tokens = model.calls[0]
    assert encoder_tokens.shape == (3, 6)
    assert conditions.shape == (3, 10)
    assert encoder_tokens[1].tolist() == [*VOCABULARY.encode("long "), 1]
    assert conditions[2].tolist() == [*VOCABULARY.encode("repeat it"), 1]
    assert one.report() == {
        "examples": 3,
        "conditions": 2,
        "truncated": {"condition": 1, "inputs": 1, "targets": 1},
    }


def test_controls_change_the_condition_alone():
    model, one = Gold(), prepare()
    for control in controls.CONTROLS:
        assert one.has(control)
        one.run(model, step=0, control=control)
    conditions = [shown(conditions) for conditions, _ in model.calls]
    assert conditions == [
        ["upper", "upper", "repeat it"], ["repeat it", "repeat it", "upper"], [""] * 3
    ]  # fmt: skip
    assert model.calls[2][0][0].tolist() == [1] + [0] * 9
    for _, encoder_tokens in model.calls[1:]:
        np.testing.assert_array_equal(encoder_tokens, model.calls[0][1])


def test_a_single_condition_is_shuffled_with_the_next_tasks_first_other_one():
    model = Gold()
    others = ["evaluation_two", "evaluation_third", "evaluation_many"]
    for order in (others, others[::-1]):
        single = prepare("evaluation_single", others=dict.fromkeys(order, "test"))
        assert single.has("shuffled")
        single.run(model, step=0, control="shuffled")
    # The first of evaluation_two is the same.
    conditions = [shown(conditions) for conditions, _ in model.calls]
    assert conditions == [["pick", "pick"], ["c0", "c0"]]
    for others in ([], ["evaluation_two"]):
        single = prepare("evaluation_single", others=dict.fromkeys(others, "test"))
        assert not single.has("shuffled")
        assert single.has("empty")
        with pytest.raises(ValueError, match=r"two or more distinct.*only 'upper'"):
            single.run(model, step=0, control="shuffled")


def test_predictions_are_written(tmp_path):
    log_dir = tmp_path / "not" / "there"
    run, gold = prepare().run, Gold(["evaluation_one"])
    for control in ("matched", *controls.CONTROLS):  # A second run replaces the file.
        run(gold, step=7, control=control, log_dir=log_dir)
    assert sorted(path.name for path in log_dir.iterdir()) == [
        f"evaluation_one-test-{control}-7.jsonl"
        for control in ("empty", "matched", "shuffled")
    ]
    matched = read_lines(log_dir, "evaluation_one-test-matched-7")
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
    shuffled = read_lines(log_dir, "evaluation_one-test-shuffled-7")
    assert shuffled[0]["condition"] == "repeat it twice"
    assert read_lines(log_dir, "evaluation_one-test-empty-7")[0]["condition"] == ""


def test_text_and_its_log_probability_reach_metrics_of_both(tmp_path):
    one = prepare("evaluation_aux")
    scores = one.run(Gold(), step=0, log_dir=tmp_path)
    assert scores == {"sum": -6.0, "length": len("AB") + len("LONG INPUT") + len("xx")}
    lines = read_lines(tmp_path, "evaluation_aux-test-matched-0")
    assert [line["score"] for line in lines] == [-1, -2, -3]


def test_a_draw_of_examples_stays_the_same():
    inputs = []

    class Model:
        def generate(self, conditions, encoder_tokens):
            texts = shown(encoder_tokens)
            inputs.append(texts)
            said = [tokens(text.replace("i", "t"), 5) for text in texts]
            return np.array(said), np.zeros(len(said))

    few = prepare("evaluation_many", "inputs", num_examples=8)
    for step in range(2):
        assert few.run(Model(), step=step) == {"exact_match": 100}
    prepare("evaluation_many", "inputs", num_examples=8).run(Model(), step=0)
    assert inputs[0] == inputs[1] == inputs[2] != [f"i{i}" for i in range(8)]
    assert len(set(inputs[0])) == 8


def test_misuse():
    single, inputs = prepare("evaluation_single"), prepare(reads="inputs")
    gold = Gold(["evaluation_one"])
    with pytest.raises(ValueError, match=r"a control of \('matched',\) for a model"):
        inputs.run(gold, step=0, control="empty")
    with pytest.raises(ValueError, match=r"expected a control of .*got 'none'"):
        single.run(gold, step=0, control="none")
    for said, got in ((np.zeros((2, 3)), "float64 [2, 3]"),
                      (np.zeros((1, 3), np.int32), "int32 [1, 3]")):  # fmt: skip
        gold.generate = lambda *_, said=said: (said, np.zeros(len(said)))
        with pytest.raises(ValueError) as error:
            single.run(gold, step=0)
        assert str(error.value).endswith(f"integer tokens [2, T], got {got}")
    with pytest.raises(ValueError, match=r"expected reads to be one of .*got 'all'"):
        prepare(reads="all")
    with pytest.raises(ValueError, match=r"the split 'train', got .*'test'"):
        evaluation.Evaluation("evaluation_one", "train", LENGTHS, "inputs")
    with pytest.raises(ValueError, match="with metrics"):
        prepare("evaluation_no_metrics")
    with pytest.raises(ValueError, match=r"expected examples .*got none"):
        prepare("evaluation_empty")
    lengths = {"inputs": 6, "targets": 6}
    with pytest.raises(ValueError, match=r"lengths .*'condition'.*got .*inputs"):
        prepare("evaluation_single", lengths=lengths)


def test_tasks_are_found_by_mixture_name_and_pattern():
    assert set(evaluation_tasks.of("evaluation_both", ["test"])) == set(ROWS)
    one = evaluation_tasks.of("evaluation_one", ["validation", "test"])
    assert one == {"evaluation_one": "test"}
    found = evaluation_tasks.of("evaluation_(one|two|no_metrics)", ["test"])
    assert list(found) == ["evaluation_one", "evaluation_two"]
    for pattern, got in (
        ("evaluation_on", "names the nearest are evaluation_one"),
        ("evaluation_no_m.*", "got {'evaluation_no_metrics': ['test']}"),
        ("evaluation_(", "got 'evaluation_(': missing )"),
    ):
        with pytest.raises(ValueError) as error:
            evaluation_tasks.of(pattern, ["test"])
        assert got in str(error.value)


def test_controls_without_seqio():
    rows = np.array([[3, 1], [4, 1], [5, 1], [3, 1]])
    conditions = controls.Conditions(rows, ["x", "y", "z", "x"], eos_id=1)
    assert conditions.shown("matched")[1] == ["x", "y", "z", "x"]
    assert conditions.shown("shuffled")[1] == ["y", "z", "x", "y"]
    assert conditions.shown("shuffled")[0][:2].tolist() == [[4, 1], [5, 1]]
    assert conditions.count == 3
