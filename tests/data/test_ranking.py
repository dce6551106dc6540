"""Ranking by hand: what is chosen, what is refused, what metrics are given."""

import numpy as np
import pytest

from hyperx.data import ranking

ROW = {"choices": np.array([b"yes", "né".encode()], object), "answer": np.int32(1)}


def test_targets_become_records_and_predictions_stay():
    example = ROW | {"references": np.array([b"no"], object), "task": b"t", "id": b"7"}
    found = ranking.postprocess("no", example=example, is_target=True)
    assert found == {
        "choices": ["yes", "né"],
        "answer": 1,
        "references": ["no"],
        "task": "t",
        "id": "7",
    }
    assert ranking.postprocess("said", example=example, is_target=False) == "said"
    channel = {"choice_inputs": ["a", "b", "c"], "answer": 2}
    found = ranking.postprocess("x", example=channel, is_target=True)
    assert found == {"choices": ["a", "b", "c"], "answer": 2}


def test_accuracy_is_of_the_best_choice_the_first_of_equal_ones():
    scores = np.array([[-1, -2, -np.inf], [-3, -1, -2], [-2, -2, -2], [-9, -8, -7]])
    targets = [{"answer": answer} for answer in (0, 2, 0, 2)]
    assert ranking.chosen(scores).tolist() == [0, 1, 0, 2]
    assert ranking.accuracy(targets, scores) == {"accuracy": 75.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 0}, r"f.json:3: expected 'choices' or .*, got a row of \['answer'"),
        (ROW | {"choice_inputs": ["a", "b"]}, "expected 'choices' or 'choice_inputs'"),
        ({"choices": ["a", "b"]}, r"got a row of \['choices'\]"),
        (ROW | {"choices": []}, "f.json:3: expected two or more choices, got 0"),
        ({"choice_inputs": ["a"], "answer": 0}, "two or more choice_inputs, got 1"),
        (ROW | {"answer": 2}, "f.json:3: expected an answer of 0 to 1, got 2"),
        (ROW | {"answer": -1}, "expected an answer of 0 to 1, got -1"),
    ],
)
def test_what_cannot_be_ranked_is_named(row, message):
    ranking.check(ROW, "f.json:3")
    with pytest.raises(ValueError, match=message):
        ranking.check(row, "f.json:3")


def test_tokens_of_choices_by_hand():
    rows = [["ab", ""], ["abcd", "b", "a"]]
    encode = lambda text: [ord(letter) for letter in text]  # noqa: E731
    table, cut = ranking.tokens(rows, encode, 1)
    assert table.dtype == np.int32
    assert table.tolist() == [
        [[97, 98, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5],
        [[97, 98, 99, 100, 1], [98, 1, 0, 0, 0], [97, 1, 0, 0, 0]],
    ]
    assert cut == 0
    table, cut = ranking.tokens(rows, encode, 1, 3)
    assert table[1].tolist() == [[97, 98, 1], [98, 1, 0], [97, 1, 0]]
    assert cut == 1


def test_rows_with_fewer_choices_score_minus_infinity_there():
    choices = ranking.Choices(np.array([[[5, 1], [6, 1]], [[7, 1], [0, 0]]]))
    assert choices.present.tolist() == [[True, True], [True, False]]

    def rank(conditions, encoder_tokens, outputs):
        assert conditions is None
        return encoder_tokens + outputs[..., 0]

    found = choices.score(rank, None, np.array([[10], [20]]))
    assert found.tolist() == [[15, 16], [27, -np.inf]]


def test_of_a_channel_every_input_is_a_row():
    inputs = np.array([[[3, 1], [4, 1]], [[5, 1], [0, 0]]])
    outputs = np.array([[[7, 1]], [[8, 1]]])
    conditions = np.array([[100], [200]])

    def rank(conditions, encoder_tokens, outputs):
        return conditions + encoder_tokens[:, :1] + 10 * outputs[:, :, 0]

    found = ranking.Choices(outputs, inputs).score(rank, conditions, np.zeros((2, 9)))
    assert found.tolist() == [[173, 174], [285, -np.inf]]
