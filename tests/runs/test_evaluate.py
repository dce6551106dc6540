"""The plan of an evaluation: every row once, under its own condition."""

import types

import numpy as np
import pytest

from hyperx.runs.evaluate import Evaluator, blocks


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_every_row_and_every_condition_once(distinct, groups):
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
        assert 1 <= len(members) <= groups
        for own, chosen in zip(tokens, members, strict=False):
            assert (conditions[chosen] == own).all()
            rows += chosen.tolist()
            read.append(tuple(own))
        filled = tokens[len(members) :]
        assert (filled == tokens[len(members) - 1]).all()
    assert sorted(rows) == list(range(len(which)))
    assert sorted(read) == sorted(map(tuple, table))


@pytest.mark.parametrize("count", [1, 7, 16])
def test_without_conditions_rows_are_shared_out(count):
    ((tokens, members),) = blocks(None, count, 4)
    assert tokens is None
    assert len(members) == 4
    assert sorted(np.concatenate(members)) == list(range(count))
    assert max(map(len, members)) - min(map(len, members)) <= 1


class EchoPredictor:
    """Says the first token of the condition, then the input."""

    def __init__(self):
        self.states = 0

    def adapt_tokens(self, tokens):
        self.states += 1
        return tokens

    def generate_tokens(self, tokens, state, max_new_tokens):
        groups, rows, _ = tokens.shape
        first = np.zeros((groups, 1)) if state is None else state[:, :1]
        first = np.broadcast_to(first[:, None], (groups, rows, 1))
        said = np.concatenate([first, tokens], axis=-1)
        return said[..., :max_new_tokens].astype(np.int32), None


@pytest.mark.parametrize("conditioned", [True, False])
def test_what_was_decoded_goes_to_its_row(conditioned):
    lengths = {"condition": 4, "inputs": 3, "targets": 4}
    evaluator = Evaluator(
        mixture_or_task_name="t", feature_lengths=lengths, groups=2, rows=3
    )
    random = np.random.default_rng(0)
    inputs = random.integers(1, 99, (17, 3)).astype(np.int32)
    conditions = np.sort(random.integers(1, 6, (17, 1)), axis=0) * np.ones(4, int)
    random.shuffle(conditions)
    predictor = EchoPredictor()
    given = conditions if conditioned else None
    said = evaluator._decode(predictor, given, inputs)
    first = conditions[:, :1] if conditioned else np.zeros((17, 1))
    np.testing.assert_array_equal(said, np.concatenate([first, inputs], axis=1))
    groups = len(np.unique(conditions)) if conditioned else 1
    assert predictor.states == -(-groups // 2)


def test_flat_names_keep_tasks_apart_only_where_there_are_several():
    evaluator = Evaluator(mixture_or_task_name="t", feature_lengths={"targets": 4})
    one = {"matched": {"a": {"em": 1, "em/category/x": 2}}, "empty": {"a": {"em": 0}}}
    assert evaluator.flat(one) == {"matched/em": 1.0, "empty/em": 0.0}
    two = {"matched": {"a": {"em": 1}, "b": {"em": 3}}}
    assert evaluator.flat(two) == {"matched/a/em": 1.0, "matched/b/em": 3.0}


def test_models_that_read_no_condition_are_evaluated_matched_alone(monkeypatch):
    evaluator = Evaluator(mixture_or_task_name="t", feature_lengths={"targets": 4})
    run = types.SimpleNamespace(run=lambda *args, control, **kwargs: {"t": {}})
    monkeypatch.setattr(evaluator, "data", lambda *args: run)
    controls = ("matched", "shuffled", "empty")
    possible = {"condition": controls, "task": controls[:2], "prompt": controls[:1]}
    for reads, expected in possible.items():
        method = types.SimpleNamespace(reads=reads, tasks=())
        predictor = types.SimpleNamespace(config=types.SimpleNamespace(method=method))
        found = evaluator.run(predictor, step=0, controls=controls)
        assert tuple(found) == expected
