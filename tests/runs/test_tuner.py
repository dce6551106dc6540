"""Tuning: only the parts of a state move, from the loss that they start with."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import pytest
from conftest import TINY, tiny_hint
from letters import ROWS, predictor

from hyperx import load_state, model
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder
from hyperx.hypernetworks.generators.queries import QueryGenerator, QueryGeneratorConfig
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.inference import starts
from hyperx.methods.method import Method
from hyperx.methods.plain import Plain
from hyperx.runs.tuning import data as data_lib
from hyperx.runs.tuning.tuner import Tuner


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRanks(Method):
    """Low-rank updates of queries and values, and nothing else."""

    reads: ClassVar = "condition"

    def hypernetwork(self, backbone):
        config = QueryGeneratorConfig(
            backbone=backbone, bottleneck=0, prefix_length=0, rank=2
        )
        return Hypernetwork(InstructionEncoder(backbone), QueryGenerator(config))


@pytest.fixture(scope="module")
def hint():
    return predictor(tiny_hint())


@pytest.fixture(scope="module")
def state(hint):
    return hint.adapt("reverse")


@pytest.fixture(scope="module")
def examples(hint):
    return data_lib.tokenize(hint, ROWS)


@pytest.fixture(scope="module")
def tuner(hint):
    return Tuner(hint, steps=60, batch_size=3, eval_period=10)


@pytest.fixture(scope="module")
def tuned(tuner, state, examples):
    return tuner.run(state, examples, examples, learning_rate=0.05)


def _equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def _loss(own, rows, state=None):
    """Mean over tokens by the predictor's own scores."""
    scores = own.score(
        [row["input"] for row in rows], [[row["output"]] for row in rows], state
    )
    tokens = sum(len(row["output"]) + 1 for row in rows)
    return -sum(float(score.sum()) for score in scores) / tokens


def test_without_steps_nothing_changes(hint, state, examples):
    tuned = Tuner(hint, steps=0).run(state, examples, examples)
    _equal(tuned.state, state)
    assert [measured.step for measured in tuned.curve] == [0]


def test_the_first_loss_is_that_of_the_state(hint, tuned, state):
    assert tuned.curve[0].loss == pytest.approx(_loss(hint, ROWS, state), abs=1e-5)


def test_measurements_do_not_depend_on_the_batch_size(hint, tuned, state, examples):
    """3 does not divide the 4 examples; 16 is more than there are."""
    whole = Tuner(hint, steps=0, batch_size=16).run(state, examples, examples)
    assert whole.curve[0].loss == pytest.approx(tuned.curve[0].loss, abs=1e-5)
    assert whole.curve[0].exact_match == tuned.curve[0].exact_match


def test_what_can_be_memorised_is(hint, tuned, state):
    steps = [measured.step for measured in tuned.curve]
    assert steps == [0, 10, 20, 30, 40, 50, 60]
    assert tuned.best.loss < 0.25 * tuned.curve[0].loss
    assert tuned.best.exact_match == 100
    assert _loss(hint, ROWS, tuned.state) == pytest.approx(tuned.best.loss, abs=1e-5)
    inputs = [row["input"] for row in ROWS]
    written = hint.generate(inputs, tuned.state, max_new_tokens=6)
    assert written == [row["output"] for row in ROWS]
    assert tuned.reaches(tuned.best.loss) == tuned.best.step
    assert tuned.reaches(tuned.curve[0].loss) == 0
    assert tuned.reaches(0.0) is None


def test_all_parts_move_and_nothing_else(hint, tuned, state):
    _equal(tuned.state.memory, state.memory)
    assert tuned.state.fingerprint == state.fingerprint
    assert hint.with_params(hint.params).fingerprint == state.fingerprint
    parts, own = ((s.encoder, s.decoder) for s in (tuned.state, state))
    leaves = jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), parts, own))
    assert len(leaves) == 14  # encoder: adapter, prefix; decoder: and another prefix
    assert all(leaves)


def test_the_order_of_examples_is_the_seed(tuner, tuned, state, examples):
    again = tuner.run(state, examples, examples, learning_rate=0.05)
    assert again.curve == tuned.curve
    _equal(again.state, tuned.state)
    other = tuner.run(state, examples, examples, learning_rate=0.05, seed=1)
    assert other.curve[-1] != tuned.curve[-1]


def test_all_starts_share_what_is_compiled(tuner, tuned, state, examples, tmp_path):
    """Wherever their arrays come from: a hypernetwork, a file, or drawn just now."""
    state.save(tmp_path / "state")
    for start in (
        load_state(tmp_path / "state"),
        starts.random(state, jax.random.key(0)),
    ):
        tuner.run(start, examples, examples, learning_rate=0.01)
    assert tuner._update._cache_size() == tuner._sums._cache_size() == 1


def test_batches_go_through_all_examples_before_any_again(examples):
    batches = list(data_lib.shuffled(examples, 3, 4, seed=0))
    first = np.concatenate([batch["encoder_tokens"][0, :, 0] for batch in batches])
    for start in (0, 4, 8):
        passed = first[start : start + 4]
        assert sorted(passed) == sorted(examples["encoder_tokens"][:, 0])


def test_a_state_keeps_its_dtype(examples):
    """Updates are summed in float32: what is kept is a rounding of that sum."""
    config = tiny_hint(dataclasses.replace(TINY, dtype="bfloat16"))
    own = predictor(config)
    state = own.adapt("reverse")
    tuned = Tuner(own, steps=4).run(state, examples, examples)
    dtypes = [jax.tree.map(lambda leaf: leaf.dtype, s) for s in (state, tuned.state)]
    assert dtypes[0] == dtypes[1]
    assert tuned.best.step > 0


def test_random_low_rank_updates_start_from_the_plain_model(examples):
    config = model.ModelConfig(backbone=TINY, method=LowRanks())
    own = predictor(config)
    drawn = starts.random(own.adapt("reverse"), jax.random.key(0))
    backbone = {k: v for k, v in own.params.items() if k != "hypernetwork"}
    bare = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
    expected = _loss(predictor(bare, backbone), ROWS)
    tuner = Tuner(own, steps=30, batch_size=4)
    tuned = tuner.run(drawn, examples, examples, learning_rate=0.03)
    assert tuned.curve[0].loss == pytest.approx(expected, abs=1e-5)
    assert tuned.best.loss < 0.8 * expected


def test_a_state_that_cannot_be_tuned_is_refused(hint, tuner):
    bare = predictor(model.ModelConfig(backbone=TINY, method=Plain()))
    for own, given, message in (
        (Tuner(bare, steps=1), bare.adapt(), "expected a state with weights to tune"),
        (tuner, bare.adapt(), f"state of model {hint.fingerprint}, got one of model"),
        (tuner, hint.adapt(["a", "b"]), "expected a state of one condition, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            own.check(given)
