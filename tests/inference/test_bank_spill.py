"""States on disk: found again by a later process, within a budget, or refused."""

import os
import pathlib

import jax
import numpy as np
import pytest
from conftest import tiny_hint
from letters_model import predictor

from hyperx.inference.bank import Bank, UnknownStateError
from hyperx.inference.states.spill import Spill
from hyperx.runs.adapt import check_folder
from hyperx.task_state import TaskState

PLENTY = 1 << 30


@pytest.fixture(scope="module")
def hint():
    return predictor(tiny_hint())


def assert_equal(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_a_later_process_finds_states_again(hint, tmp_path):
    first = Bank(hint, bytes=PLENTY, spill=tmp_path)
    ids = [first.put("swap"), first.put("reverse")]
    assert first.statistics().spilled == 2
    later = Bank(hint, bytes=PLENTY, spill=tmp_path)
    assert all(state_id in later for state_id in ids)
    assert_equal(later.get(ids[1:]), hint.adapt("reverse"))
    assert_equal(later.get(ids), first.get(ids))
    statistics = later.statistics()
    assert (statistics.loaded, statistics.misses, statistics.hits) == (2, 0, 1)
    assert statistics.spilled_states == 2
    assert statistics.spilled_bytes == sum(
        path.stat().st_size for path in tmp_path.iterdir()
    )


def test_loaded_states_share_the_programs_of_generated_ones(hint, tmp_path):
    first = Bank(hint, bytes=PLENTY, spill=tmp_path)
    ids = [first.put("swap"), first.put("turn")]
    later = Bank(hint, bytes=PLENTY, spill=tmp_path)
    inputs = hint.encode_text(["ab", "cd"], "inputs")
    for chosen in (ids[:1], ids):
        expected, got = first.get(chosen), later.get(chosen)
        where = [
            [leaf.sharding for leaf in jax.tree.leaves(s)] for s in (expected, got)
        ]
        assert where[0] == where[1]
        rows = np.stack([inputs] * len(chosen))
        np.testing.assert_array_equal(
            hint.generate_tokens(rows, expected, 4)[0],
            hint.generate_tokens(rows, got, 4)[0],
        )


def test_a_state_that_left_memory_comes_from_disk(hint, tmp_path):
    nbytes = hint.adapt("aaaa").nbytes
    bank = Bank(hint, bytes=nbytes, spill=tmp_path)
    ids = [bank.put("aaaa"), bank.put("bbbb")]
    joined = bank.get(ids)
    assert_equal(joined.take([0]), hint.adapt("aaaa"))
    statistics = bank.statistics()
    assert (statistics.misses, statistics.loaded) == (2, 2)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_damage_is_reported_and_the_state_generated_again(
    hint, tmp_path, caplog, damage
):
    state_id = Bank(hint, bytes=PLENTY, spill=tmp_path).put("swap")
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path)
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    match damage:
        case "flip":
            path.write_bytes(data)
        case "cut":
            path.write_bytes(data[:-9])
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
    with pytest.raises(UnknownStateError):
        bank.get([state_id])
    assert "expected an intact state in" in caplog.text
    assert bank.statistics().failed == 1
    assert list(tmp_path.iterdir()) == []
    assert bank.put("swap") == state_id
    assert_equal(bank.get([state_id]), hint.adapt("swap"))
    assert_equal(
        Bank(hint, bytes=PLENTY, spill=tmp_path).get([state_id]), bank.get([state_id])
    )
    assert only_file(tmp_path).name.startswith(state_id)


def test_a_file_under_another_name_is_refused(hint, tmp_path, caplog):
    """A state of another model in a file that claims to be of this one."""
    other = predictor(tiny_hint(), seed=1)
    Bank(other, bytes=PLENTY, spill=tmp_path).put("swap")
    path = only_file(tmp_path)
    claimed = path.name.replace(other.fingerprint, hint.fingerprint)
    path.rename(tmp_path / claimed)
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path)
    with pytest.raises(UnknownStateError):
        bank.get([claimed.partition("-")[0]])
    assert f"got one of model {other.fingerprint}" in caplog.text


def test_files_of_other_models_are_left_alone(hint, tmp_path):
    other = Bank(predictor(tiny_hint(), seed=1), bytes=PLENTY, spill=tmp_path)
    foreign = other.put("swap")
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path, spill_bytes=PLENTY)
    assert bank.statistics().spilled_states == 0
    assert foreign not in bank
    assert other.get([foreign]).groups == 1


def test_files_used_longest_ago_are_deleted_for_new_ones(hint, tmp_path):
    first = Bank(hint, bytes=PLENTY, spill=tmp_path)
    ids = [first.put(letter * 4) for letter in "abc"]
    for age, state_id in zip((10, 30, 20), ids, strict=True):
        (path,) = tmp_path.glob(f"{state_id}*")
        os.utime(path, ns=(0, 10**18 - age))
    size = path.stat().st_size
    later = Bank(hint, bytes=PLENTY, spill=tmp_path, spill_bytes=2 * size + size // 2)
    assert [state_id in later for state_id in ids] == [True, False, True]
    later.get([ids[2]])
    new = later.put("dddd")
    assert [state_id in later for state_id in ids] == [False, False, True]
    again = Bank(hint, bytes=PLENTY, spill=tmp_path)
    assert new in again
    assert again.statistics().spilled_states == 2


def test_a_full_disk_costs_the_copy_and_nothing_else(
    hint, tmp_path, monkeypatch, caplog
):
    def full(self, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    bank = Bank(hint, bytes=PLENTY, spill=tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(TaskState, "save", full)
        state_id = bank.put("swap")
    assert_equal(bank.get([state_id]), hint.adapt("swap"))
    assert "No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert bank.statistics().failed == 1


def test_what_a_dead_process_left_is_cleared(hint, tmp_path):
    new = {"2-0.writing", "2-0.writing.partial"}
    for name in {"1-0.writing", "1-0.writing.partial"} | new:
        (tmp_path / name).write_bytes(b"half")
        if name not in new:
            os.utime(tmp_path / name, (1, 1))
    Bank(hint, bytes=PLENTY, spill=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == new


def test_deleted_states_leave_the_disk(hint, tmp_path):
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path)
    assert bank.delete(bank.put("swap"))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_ours_are_read_and_left(hint, tmp_path, monkeypatch, caplog):
    def refuses(*args, **kwargs):
        raise PermissionError(1, "Operation not permitted")

    state_id = Bank(hint, bytes=PLENTY, spill=tmp_path).put("swap")
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path)
    monkeypatch.setattr(os, "utime", refuses)
    assert_equal(bank.get([state_id]), hint.adapt("swap"))
    assert bank.statistics().failed == 0
    with monkeypatch.context() as broken:
        broken.setattr(pathlib.Path, "unlink", refuses)
        assert bank.delete(state_id)
    assert state_id not in bank
    assert "is not deleted: " in caplog.text


def test_a_file_that_gets_no_name_is_not_counted_as_there(hint, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    spill = Spill(tmp_path, hint.fingerprint)
    state, replace = hint.adapt("swap"), pathlib.Path.replace
    monkeypatch.setattr(
        pathlib.Path,
        "replace",
        lambda self, to: (full if to.suffix == ".safetensors" else replace)(self, to),
    )
    spill.write("0" * 48, state)
    assert (len(spill), spill.nbytes, spill.failed) == (0, 0, 1)
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_no_folders(hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refuses in (lambda to: Bank(hint, bytes=PLENTY, spill=to), check_folder):
        with pytest.raises(ValueError, match="folder on a disk, got gs://bucket/dir"):
            refuses("gs://bucket/dir")
    assert list(tmp_path.iterdir()) == []


def test_states_deleted_while_they_are_made_are_not_kept(hint, tmp_path, monkeypatch):
    bank, adapt_tokens = Bank(hint, bytes=PLENTY, spill=tmp_path), hint.adapt_tokens

    def deleting(tokens):
        assert bank.delete(bank.state_id(tokens[0]))
        return adapt_tokens(tokens)

    with monkeypatch.context() as slow:
        slow.setattr(hint, "adapt_tokens", deleting)
        state = bank.state("swap")
    assert_equal(state, hint.adapt("swap"))
    assert list(tmp_path.iterdir()) == []
    assert bank.statistics().states == 0
    assert_equal(bank.get([bank.put("swap")]), state)


def test_a_state_deleted_while_it_is_written_leaves_no_file(
    hint, tmp_path, monkeypatch
):
    bank, save = Bank(hint, bytes=PLENTY, spill=tmp_path), TaskState.save

    def deleting(state, path):
        save(state, path)
        bank.delete(bank.remember("swap"))

    monkeypatch.setattr(TaskState, "save", deleting)
    bank.put("swap")
    assert list(tmp_path.iterdir()) == []
    assert bank.statistics().spilled_states == bank.statistics().states == 0


def test_fresh_states_leave_no_trace(hint, tmp_path):
    size = file_size(hint, tmp_path / "other")
    bank = Bank(hint, bytes=PLENTY, spill=tmp_path / "own", spill_bytes=size)
    state_id = bank.put("aaaa")
    assert_equal(bank.fresh("bbbb"), hint.adapt("bbbb"))
    assert_equal(bank.fresh("aaaa"), bank.get([state_id]))
    assert bank.state_id(hint.condition_tokens(["bbbb"])[0]) not in bank
    assert only_file(tmp_path / "own").name.startswith(state_id)
    assert bank.statistics().states == 1
    with pytest.raises(ValueError, match="expected a state within a budget of 9"):
        Bank(hint, bytes=9).fresh("aaaa")


def file_size(hint, folder):
    Bank(hint, bytes=PLENTY, spill=folder).put("aaaa")
    return only_file(folder).stat().st_size


def test_added_states_survive_on_disk(hint, tmp_path):
    state = hint.adapt("swap")
    state_id = Bank(hint, bytes=PLENTY, spill=tmp_path).add(state)
    assert_equal(Bank(hint, bytes=PLENTY, spill=tmp_path).get([state_id]), state)
