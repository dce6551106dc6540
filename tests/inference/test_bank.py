"""The bank: what it hands out is what was generated, each state made once."""

import threading

import jax
import numpy as np
import pytest
from conftest import TINY, tiny_hint
from letters_model import predictor

from hyperx import model
from hyperx.inference.bank import Bank, UnknownStateError
from hyperx.methods import fid_icl, hyperformer, lora

PLENTY = 1 << 30


@pytest.fixture(scope="module")
def hint():
    return predictor(tiny_hint())


@pytest.fixture(scope="module")
def nbytes(hint):
    return hint.adapt("swap").nbytes


def assert_equal(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


METHODS = {
    "hint": tiny_hint(),
    "fid_icl": model.ModelConfig(backbone=TINY, method=fid_icl.FidIcl()),
    "lora": model.ModelConfig(backbone=TINY, method=lora.Lora(rank=2)),
    "hyperformer": model.ModelConfig(
        backbone=TINY, method=hyperformer.HyperFormer(tasks=("up", "down"))
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_hit_is_a_fresh_generation_to_the_bit(name):
    own = predictor(METHODS[name])
    bank = Bank(own, bytes=PLENTY)
    conditions = {"lora": [None], "hyperformer": ["up", "down"]}
    for condition in conditions.get(name, ["swap a b", "reverse"]):
        state_id = bank.put(condition)
        assert bank.put(condition) == state_id
        assert_equal(bank.get([state_id]), own.adapt(condition))
        assert bank.get([state_id]) is bank.get([state_id])
    assert bank.statistics().misses == len(conditions.get(name, [1, 2]))


def test_ids_are_addresses_of_content(hint):
    bank = Bank(hint, bytes=PLENTY)
    (tokens,) = hint.condition_tokens(["swap"])
    address = bank.state_id(tokens)
    assert address == bank.state_id(np.pad(tokens, (0, 9))) == bank.put("swap")
    assert address.startswith(hint.fingerprint)
    assert len(address) == 48
    others = {bank.state_id(tokens[:-1]), predictor_id(tiny_hint(), 1, tokens)}
    assert len(others | {address}) == 3


def predictor_id(config, seed, tokens):
    return Bank(predictor(config, seed), bytes=PLENTY).state_id(tokens)


def test_several_ids_give_one_state_of_as_many_conditions(hint):
    bank = Bank(hint, bytes=PLENTY)
    conditions = ["swap", "a much longer condition", "up"]
    ids = [bank.put(condition) for condition in conditions]
    joined = bank.get([*ids, ids[0], ids[1]])
    assert joined.groups == 8
    assert joined.memory.mask.shape == (8, 32)
    for group, index in enumerate([0, 1, 2, 0, 1, 1, 1, 1]):
        alone = hint.adapt(conditions[index])
        length = alone.memory.mask.shape[1]
        part = joined.take([group])
        assert_equal(part.encoder, alone.encoder)
        assert_equal(part.decoder, alone.decoder)
        assert_equal(part.memory.key[:, :, :length], alone.memory.key)
        assert_equal(part.memory.mask[:, :length], alone.memory.mask)
        assert not part.memory.mask[:, length:].any()


def test_batches_that_mix_tasks_share_programs(hint):
    """What is joined is computed by one program, whichever tasks there are."""
    bank = Bank(hint, bytes=PLENTY, lengths=(32,))
    ids = [bank.put("x" * length) for length in range(1, 20)]
    inputs = hint.encode_text(["ab", "cd"], "inputs")
    compiled = []
    listener = lambda name, _, **__: compiled.append(name)  # noqa: E731
    generate(hint, bank, ids[:4], inputs)
    jax.monitoring.register_event_duration_secs_listener(listener)
    for start in range(1, 16):
        generate(hint, bank, ids[start : start + 3], inputs)
    assert not [name for name in compiled if name.endswith("backend_compile_duration")]


def generate(hint, bank, ids, inputs):
    state = bank.get(ids)
    return hint.generate_tokens(np.stack([inputs] * state.groups), state, 4)


def test_the_state_used_longest_ago_leaves_first(hint, nbytes):
    bank = Bank(hint, bytes=2 * nbytes)
    first, second = bank.put("aaaa"), bank.put("bbbb")
    bank.get([first])
    third = bank.put("cccc")
    statistics = bank.statistics()
    assert (statistics.states, statistics.bytes) == (2, 2 * nbytes)
    assert (statistics.misses, statistics.evicted) == (3, 1)
    bank.get([first, third])
    assert bank.statistics().misses == 3
    assert_equal(bank.get([second]), hint.adapt("bbbb"))
    assert bank.statistics().misses == 4


def test_a_state_beyond_the_budget_is_refused(hint, nbytes):
    with pytest.raises(ValueError, match=f"expected a state within .* {nbytes}$"):
        Bank(hint, bytes=nbytes - 1).put("swap")


def test_one_generation_per_id_even_if_many_ask_at_once(hint, monkeypatch):
    bank, calls, gate = Bank(hint, bytes=PLENTY), [], threading.Event()
    adapt_tokens = hint.adapt_tokens

    def slow(tokens):
        gate.wait(10)
        calls.append(tokens)
        return adapt_tokens(tokens)

    monkeypatch.setattr(hint, "adapt_tokens", slow)
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(bank.get([bank.put("swap")])))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(30)
    assert len(calls) == 1
    assert len(got) == 8
    assert all(state is got[0] for state in got)


def test_threads_find_what_they_asked_for_while_states_come_and_go(hint, nbytes):
    bank = Bank(hint, bytes=3 * nbytes)
    conditions = ["aaaa", "bbbb", "cccc", "dddd", "eeee"]
    expected = {condition: hint.adapt(condition) for condition in conditions}
    wrong = []

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            condition = conditions[rng.integers(len(conditions))]
            try:
                assert_equal(bank.get([bank.put(condition)]), expected[condition])
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert bank.statistics().bytes <= 3 * nbytes


def test_a_generation_that_fails_fails_for_this_time_only(hint, monkeypatch):
    bank = Bank(hint, bytes=PLENTY)
    with monkeypatch.context() as broken:
        broken.setattr(hint, "adapt_tokens", lambda tokens: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bank.put("swap")
    assert bank.get([bank.put("swap")]).groups == 1


def test_what_is_unknown_foreign_or_forgotten_is_refused(hint):
    bank = Bank(hint, bytes=PLENTY)
    other = Bank(predictor(tiny_hint(), seed=1), bytes=PLENTY)
    with pytest.raises(UnknownStateError, match="expected the id of a known state"):
        bank.get([hint.fingerprint + "0" * 32])
    foreign = other.put("swap")
    with pytest.raises(ValueError, match="expected a state id of model .* got one of"):
        bank.get([foreign])
    with pytest.raises(ValueError, match="expected a state of model .* got one of"):
        bank.add(other.get([foreign]))
    with pytest.raises(ValueError, match="at least one state id, got none"):
        bank.get([])
    state_id = bank.put("swap")
    assert bank.delete(state_id)
    assert not bank.delete(state_id)
    assert state_id not in bank
    with pytest.raises(UnknownStateError):
        bank.get([state_id])


def test_states_made_elsewhere_are_served(hint):
    bank = Bank(hint, bytes=PLENTY)
    state = hint.adapt("swap")
    state_id = bank.add(state)
    assert state_id != bank.put("swap")
    assert_equal(bank.get([state_id]), state)
    changed = state.replace(memory=state.memory.replace(mask=~state.memory.mask))
    assert bank.add(changed) != state_id


def test_odd_lengths_are_refused(hint):
    with pytest.raises(
        ValueError, match="expected powers of two from 8 .* got \\[12\\]"
    ):
        Bank(hint, bytes=PLENTY, lengths=(8, 12))
