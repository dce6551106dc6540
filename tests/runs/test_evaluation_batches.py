"""The plan of an evaluation: every row once, under its own condition."""

import numpy as np
import pytest

from hyperx.runs.evaluation.batches import BatchedModel, blocks


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_every_row_once_under_its_condition(distinct, groups):
    random = np.random.default_rng(distinct)
    table = random.integers(1, 9, (distinct, 4))
    table[:, 0] = np.arange(distinct)
    which = np.concatenate([np.arange(distinct), random.integers(0, distinct, 20)])
    conditions = table[which]
    plan = blocks(conditions, len(which), groups)
    assert len(plan) == -(-distinct // groups)
    rows, read = [], []
    for tokens, members in plan:
        assert tokens.shape == (groups, 4)
        for own, chosen in zip(tokens, members, strict=True):
            assert (conditions[chosen] == own).all()
            rows += chosen.tolist()
        read += np.unique(tokens, axis=0).tolist()
        sizes = [len(chosen) for chosen in members]
        if distinct == 1:  # all groups work
            assert max(sizes) - min(sizes) <= 1
    assert sorted(rows) == list(range(len(which)))
    assert sorted(read) == sorted(table.tolist())


@pytest.mark.parametrize("count", [1, 7, 16])
def test_without_conditions_rows_are_shared_out(count):
    ((tokens, members),) = blocks(None, count, 4)
    assert tokens is None
    assert len(members) == 4
    assert sorted(np.concatenate(members)) == list(range(count))
    assert max(map(len, members)) - min(map(len, members)) <= 1


class EchoPredictor:
    """Says the first token of the condition, then the input; scores what it reads."""

    def __init__(self):
        self.states = 0
        self.shapes = set()

    def adapt_tokens(self, tokens):
        self.states += 1
        return tokens

    def generate_tokens(self, tokens, state, max_new_tokens):
        self.shapes.add(tokens.shape)
        said = np.zeros((*tokens.shape[:2], max_new_tokens), np.int32)
        said[..., 0] = self._first(state)
        said[..., 1 : tokens.shape[-1] + 1] = tokens
        return said, -tokens.sum(-1)

    def score_tokens(self, tokens, choices, state):
        self.shapes.add(choices.shape)
        read = self._first(state) * 1000 + tokens.sum(-1)
        return read[..., None] * 100 + choices.sum(-1)

    def _first(self, state):
        return 0 if state is None else state[:, :1]


@pytest.fixture(params=[True, False], ids=["conditioned", "not"])
def rows(request):
    random = np.random.default_rng(0)
    inputs = random.integers(1, 99, (17, 3)).astype(np.int32)
    conditions = np.sort(random.integers(1, 6, (17, 1)), axis=0) * np.ones(4, int)
    random.shuffle(conditions)
    first = conditions[:, :1] if request.param else np.zeros((17, 1), int)
    return (conditions if request.param else None), first, inputs


def batched(predictor, **options):
    sizes = dict(groups=2, rows=3, max_new_tokens=4) | options
    return BatchedModel(predictor, **sizes)


def test_what_was_decoded_goes_to_its_row(rows):
    conditions, first, inputs = rows
    predictor = EchoPredictor()
    said, scores = batched(predictor).generate(conditions, inputs)
    np.testing.assert_array_equal(said, np.concatenate([first, inputs], axis=1))
    np.testing.assert_array_equal(scores, -inputs.sum(-1))
    distinct = len(np.unique(first))
    assert predictor.states == -(-distinct // 2)
    assert predictor.shapes == {(2, 3, 3)}


@pytest.mark.parametrize(("rows_together", "expected"), [(1, 1), (5, 1), (11, 2)])
def test_scores_go_to_their_rows_and_choices(rows, rows_together, expected):
    """R times C stays within what is decoded together."""
    conditions, first, inputs = rows
    choices = np.random.default_rng(1).integers(1, 9, (17, 5, 2)).astype(np.int32)
    predictor = EchoPredictor()
    found = batched(predictor, rows=rows_together).rank(conditions, inputs, choices)
    read = first[:, 0] * 1000 + inputs.sum(-1)
    np.testing.assert_array_equal(found, read[:, None] * 100 + choices.sum(-1))
    assert predictor.shapes == {(2, expected, 5, 2)}


def test_short_rows_are_not_computed_at_full_length():
    inputs = np.zeros((4, 64), np.int32)
    inputs[:, :5] = 7
    predictor = EchoPredictor()
    batched(predictor, max_new_tokens=6).generate(None, inputs)
    assert predictor.shapes == {(2, 3, 5)}
