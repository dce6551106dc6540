"""Decoding and scoring: what is kept equals what is computed anew."""

import contextlib

import jax
import numpy as np
import pytest
from conftest import TINY, initial_params, tiny_hint

from hyperx import load_state, model, sharding, task_state
from hyperx.backbone.t5 import EOS
from hyperx.inference.decoding import Beam, Greedy, Requests, Sample, Shape
from hyperx.inference.predictor import Predictor
from hyperx.methods import hyperdecoders, plain

LENGTHS = {"condition": 12, "inputs": 10, "prompt": 20, "targets": 8}


class Letters:
    """A vocabulary of letters: a is 2, b is 3, and so on."""

    def encode(self, text):
        return [ord(letter) - ord("a") + 2 for letter in text]

    def decode(self, ids):
        return "".join(
            chr(index - 2 + ord("a")) if index < 28 else "?" for index in ids
        )


@contextlib.contextmanager
def count_compilations():
    """A list that grows by one for everything that is compiled."""
    found = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def predictor(config, seed=0):
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        return Predictor(config, initial_params(config, seed), Letters(), LENGTHS)


@pytest.fixture(scope="module")
def hint():
    return predictor(tiny_hint())


@pytest.fixture(scope="module")
def state(hint):
    return hint.adapt("replace")


def test_cached_decoding_equals_teacher_forcing(hint, state):
    """With adapters, prefixes and fusion on; EOS is suppressed to decode to the end."""
    inputs = hint.encode_text(["abc", "defgh", "i"], "inputs")
    tokens, scores = hint.generate_tokens(inputs[None], state, 12)
    shifted = np.pad(tokens[0, :, :-1], ((0, 0), (1, 0)))
    logits = hint.logits(inputs, shifted, state)
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))
    for row, expected, score in zip(
        tokens[0], log_probabilities, scores[0], strict=True
    ):
        ends = np.flatnonzero(row == EOS)
        length = ends[0] + 1 if ends.size else len(row)
        np.testing.assert_array_equal(row[:length], expected[:length].argmax(-1))
        assert not row[length:].any()
        chosen = expected[np.arange(length), row[:length]].sum()
        np.testing.assert_allclose(score, chosen, atol=1e-4)


def test_rows_do_not_depend_on_their_company(hint, state):
    together = hint.generate(["abc", "defgh", "i"], state, max_new_tokens=6)
    alone = [
        hint.generate([x], state, max_new_tokens=6)[0] for x in ("abc", "defgh", "i")
    ]
    assert together == alone


def test_several_conditions_equal_each_alone(hint):
    states = hint.adapt(["replace", "swap"])
    inputs = hint.encode_text(["abc", "de"], "inputs")
    both, _ = hint.generate_tokens(np.stack([inputs, inputs]), states, 6)
    for index in range(2):
        alone, _ = hint.generate_tokens(inputs[None], states.take([index]), 6)
        np.testing.assert_array_equal(both[index], alone[0])


def test_one_state_broadcasts_over_groups(hint, state):
    inputs = hint.encode_text(["abc", "de", "fg", "hi"], "inputs")
    rows, _ = hint.generate_tokens(inputs[None], state, 6)
    groups, _ = hint.generate_tokens(inputs[:, None], state, 6)
    np.testing.assert_array_equal(rows[0], groups[:, 0])


def test_score_equals_logits(hint, state):
    inputs, choices = ["abc", "de"], [["xy", "z"], ["w"]]
    got = hint.score(inputs, choices, state)
    assert [len(scores) for scores in got] == [2, 1]
    for text, options, scores in zip(inputs, choices, got, strict=True):
        for option, score in zip(options, scores, strict=True):
            source = hint.encode_text([text], "inputs")
            target = hint.encode_text([option], "targets")
            shifted = np.pad(target[:, :-1], ((0, 0), (1, 0)))
            logits = hint.logits(source, shifted, state)
            table = np.asarray(jax.nn.log_softmax(logits))[0]
            expected = table[np.arange(target.shape[1]), target[0]].sum()
            np.testing.assert_allclose(score, expected, atol=1e-4)


def test_saved_state_serves_without_the_condition(hint, state, tmp_path):
    state.save(tmp_path / "state")
    loaded = load_state(tmp_path / "state")
    inputs = ["abc", "de"]
    assert hint.generate(inputs, loaded) == hint.generate(inputs, state)


def test_state_of_another_model_is_refused(hint, state):
    other = predictor(tiny_hint(), seed=1)
    with pytest.raises(
        ValueError, match="expected a state of model .* got one of model"
    ):
        other.generate(["abc"], state)
    assert predictor(tiny_hint()).fingerprint == hint.fingerprint != other.fingerprint


def test_misuse_is_explained(hint, state):
    with pytest.raises(ValueError, match="expected a state made by `adapt`, got None"):
        hint.generate(["abc"])
    with pytest.raises(ValueError, match="expected a state of one condition, got 2"):
        hint.generate(["abc"], task_state.concat([state, state]))
    with pytest.raises(ValueError, match="one list of choices per input, got 1 lists"):
        hint.score(["a", "b"], [["c"]], state)


def test_several_outputs_are_lists_best_first(hint, state):
    inputs = ["abc", "de"]
    best = hint.generate(inputs, state, max_new_tokens=6, decoding=Beam(3))
    all_ = hint.generate(inputs, state, max_new_tokens=6, decoding=Beam(3), returned=3)
    assert [texts[0] for texts in all_] == best
    assert all(len(texts) == 3 for texts in all_)
    drawn = hint.generate(inputs, state, decoding=Sample(2.0), returned=3, seed=1)
    assert all(len(set(texts)) == 3 for texts in drawn)


def test_every_row_has_its_own_limit(hint, state):
    inputs = hint.encode_text(["abc", "defgh", "i"], "inputs")[None]
    whole, scores = hint.generate_tokens(inputs, state, 8)
    limits = [2, 8, 5]
    each = [Requests.of(Greedy(), limit) for limit in limits]
    requests = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *each)
    tokens, cut = hint.generate_rows(inputs, state, requests, Shape(8))
    for row, limit in enumerate(limits):
        np.testing.assert_array_equal(tokens[0, row, 0, :limit], whole[0, row, :limit])
        assert not tokens[0, row, 0, limit:].any()
    assert cut[0, 0, 0] > scores[0, 0]
    np.testing.assert_array_equal(cut[0, 1, 0], scores[0, 1])


def test_decoding_ends_when_all_rows_have(hint, state):
    inputs = hint.encode_text(["abc", "de"], "inputs")[None]
    requests = Requests.of(Greedy(), 3).full(1, 2)
    running = hint.advance(hint.begin(inputs, state, requests, Shape(16)), 16)
    assert int(running.position) == int(running.lengths.max()) <= 3


@pytest.mark.parametrize("rows", [1, 2])
def test_an_uneven_number_of_conditions_is_padded(hint, rows):
    states = hint.adapt(["replace", "swap", "drop"])
    inputs = hint.encode_text(["abc", "de", "f", "gh", "i", "jk"][: 3 * rows], "inputs")
    inputs = inputs.reshape(3, rows, -1)
    three, scores = hint.generate_tokens(inputs, states, 6)
    again = hint.score_tokens(inputs, three[:, :, None], states)
    np.testing.assert_allclose(again[..., 0], scores, atol=1e-4)
    for index in range(3):
        one = inputs[index : index + 1]
        alone, _ = hint.generate_tokens(one, states.take([index]), 6)
        np.testing.assert_array_equal(three[index], alone[0])
    with pytest.raises(ValueError, match="a state of 3 conditions or of one, got 2"):
        hint.generate_tokens(inputs, states.take([0, 1]), 6)


def test_other_parameters_decode_with_their_own(hint, state):
    params = jax.tree.map(lambda leaf: 2 * leaf, hint.params)
    other, fresh = hint.with_params(params), Predictor(hint.config, params, None, {})
    inputs = hint.encode_text(["abc", "de"], "inputs")[None]
    found, scores = other.generate_tokens(inputs, state, 6)
    expected, same = fresh.generate_tokens(inputs, state, 6)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, same)
    assert (found != hint.generate_tokens(inputs, state, 6)[0]).any()


def test_other_parameters_compile_nothing(hint, state):
    inputs = hint.encode_text(["abc", "de"], "inputs")

    def use(predictor):
        own = predictor.adapt("replace")
        predictor.generate_tokens(inputs[None], own, 6)
        predictor.score_tokens(inputs[None], inputs[None, :, None], own)
        predictor.logits(inputs, inputs, own)

    use(hint)
    other = hint.with_params(jax.tree.map(lambda leaf: 2 * leaf, hint.params))
    assert other.fingerprint != hint.fingerprint  # Computed before it is counted.
    with count_compilations() as counted:
        use(other)
    assert counted == []


def test_inputs_with_weights_of_their_own_fill_several_devices():
    config = model.ModelConfig(
        backbone=TINY, method=hyperdecoders.Hyperdecoders(reads="inputs")
    )
    alone = predictor(config)
    mesh = sharding.make_mesh()
    with sharding.use(mesh):
        params = jax.device_put(
            alone.params,
            sharding.tree_shardings(model.abstract_parameters(config).axes, mesh),
        )
    spread = Predictor(config, params, Letters(), LENGTHS, mesh)
    for texts in (["abc"], ["abc", "de"], ["abc", "de", "f"]):
        expected = alone.generate(texts, alone.adapt(), max_new_tokens=4)
        assert spread.generate(texts, spread.adapt(), max_new_tokens=4) == expected


def test_nothing_in_nothing_out(hint, state):
    assert hint.generate([], state) == []
    assert hint.score([], [], state) == []
    assert [len(x) for x in hint.score(["a", "b"], [[], []], state)] == [0, 0]


def test_plain_models_read_no_condition():
    baseline = predictor(model.ModelConfig(backbone=TINY, method=plain.Plain()))
    assert len(baseline.generate(["abc"], max_new_tokens=3)) == 1
    assert baseline.adapt().nbytes == 0
    with pytest.raises(ValueError, match="expected no condition for a model that"):
        baseline.adapt("replace")


def test_over_long_text_is_cut_before_eos_and_reported(hint, caplog):
    tokens = hint.encode_text(["abcdefghijklmnop", "ab"], "inputs")
    assert tokens.shape == (2, LENGTHS["inputs"])
    assert tokens[0, -1] == EOS
    assert "1 of 2 inputs cut to 9 tokens" in caplog.text
