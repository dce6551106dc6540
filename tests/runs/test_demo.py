"""The demo: its controls by hand, and a whole one of a few steps."""

import dataclasses
import json
import os
import re

import jax
import pytest

from hyperx import sharding
from hyperx.data.toyworld import follower as toyworld_follower
from hyperx.data.toyworld import world as toyworld
from hyperx.runs import demo, models
from hyperx.runs.demonstration import part as part_lib
from hyperx.runs.demonstration import report as report_lib
from hyperx.tasks import toyworld as tasks

STEPS = {"hint": 1, "adapters": None, "concatenation": 2, "no_instruction": None}


def _record(condition, word, *references):
    return {"condition": condition, "input": word, "references": list(references)}


def test_oracle_floor_is_what_obeying_the_shown_conditions_scores():
    records = [
        _record("replace b with z", "x a b", "x a z"),  # as asked
        _record("put z in place of b", "x a b", "x a z"),  # asked in other words
        _record("swap x and z", "x a b", "x a z"),  # answers z a b
        _record("drop q", "x a b", "x a z"),  # changes nothing
    ]
    assert part_lib.oracle_floor(records) == 50.0
    assert part_lib.oracle_floor(records[2:]) == 0.0
    assert part_lib.oracle_floor(records[:1]) == 100.0


def test_oracle_floor_accepts_any_reference_and_needs_one_record():
    assert part_lib.oracle_floor([_record("drop a", "a b", "a", "b")]) == 100.0
    with pytest.raises(ValueError, match="got none"):
        part_lib.oracle_floor([])


def test_what_is_offered_to_try_never_occurs_in_training():
    (operation,) = toyworld_follower.parse(demo.TRY_CONDITION)
    assert operation.held_out
    assert toyworld.is_test_word(demo.TRY_INPUT.replace(" ", ""))
    assert toyworld.changes_throughout((operation,), demo.TRY_INPUT.replace(" ", ""))


def test_all_parts_are_named_apart_and_fast_is_shorter():
    assert len({part.name for part in demo.PARTS}) == len(demo.PARTS)
    assert len({part.colour for part in demo.PARTS}) == len(demo.PARTS)
    assert any(part.fast_steps for part in demo.PARTS)
    for part in demo.PARTS:
        assert part.fast_steps is None or part.fast_steps < part.steps


def test_a_killed_training_counts_up_to_its_last_sign_of_life(tmp_path):
    journal = part_lib.Journal(tmp_path, {})
    part = demo.PARTS[0]
    journal.note(part.name, seconds=5.0, began=100.0)
    log = tmp_path / "metrics.jsonl"
    log.touch()
    os.utime(log, (130.0, 130.0))
    part_lib._note_interrupted(part, tmp_path, journal)
    assert journal.part(part.name) == {"seconds": 35.0, "began": None}
    part_lib._note_interrupted(part, tmp_path, journal)
    assert part_lib.Journal(tmp_path, {}).part(part.name)["seconds"] == 35.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Two models of a few steps, made fast; their table."""
    folder = tmp_path_factory.mktemp("demo") / "a b"
    parts = [dataclasses.replace(p, fast_steps=STEPS[p.name]) for p in demo.PARTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PARTS", tuple(parts))
        patch.setattr(demo, "FAST_EVAL_PERIOD", 2)
        # One device, as for those who run it; it also compiles faster than eight.
        mesh = sharding.make_mesh(1, 1, devices=jax.devices()[:1])
        patch.setattr(sharding, "make_mesh", lambda *_, **__: mesh)
        patch.setitem(tasks.TASKS, "train", 256)
        yield folder, demo.demo(folder, fast=True, seed=3)


def _expected_floor():
    """By the worlds' own account: everyone obeys the next distinct instruction."""
    rows = tasks.rows("toyworld", "test")
    distinct = list(dict.fromkeys(row.task.condition for row in rows))
    following = dict(zip(distinct, distinct[1:] + distinct[:1], strict=True))
    return toyworld_follower.oracle_floor(
        rows, [following[r.task.condition] for r in rows]
    )


def test_the_table_holds_every_score(tiny):
    _, (hint, concatenation) = tiny
    assert hint.title == "HINT"
    assert set(hint.scores) == {"matched", "shuffled", "floor", "empty"}
    assert set(concatenation.scores) == {"matched"}
    assert all(0 <= score <= 100 for score in hint.scores.values())
    assert hint.scores["floor"] == _expected_floor()
    assert hint.parameters > concatenation.parameters > 100_000
    assert hint.seconds > 0
    assert hint.accuracy == [(1, hint.scores["matched"])]  # after training
    assert concatenation.accuracy == [(2, concatenation.scores["matched"])]


def test_the_page_needs_nothing_else(tiny):
    folder, rows = tiny
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert "://" not in page
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]{0,30})', page)
    assert sources == ["data:image/png;base64,iVBORw0K"]
    assert all(row.title in page for row in rows)
    assert "hyperx demo --output=" in page
    assert "$" not in page
    assert report_lib.FAST_NOTE.split(".")[0] in page


def test_again_nothing_is_trained_and_the_report_is_the_same(tiny, monkeypatch, capsys):
    folder, rows = tiny

    def refuse(*args, **kwargs):
        raise AssertionError("trained or tested again")

    monkeypatch.setattr(part_lib.configuration, "call", refuse)
    (folder / "report.html").unlink()
    assert demo.demo(folder, fast=True, seed=3) == rows
    assert (folder / "report.html").exists()
    said = capsys.readouterr().out
    assert said.count("done before") == 2
    assert report_lib.FAST_NOTE[:40] in said
    assert f"--model_dir='{folder}/hint'" in said  # the path has a space


@pytest.mark.parametrize("changed", [{"seed": 4}, {"fast": False}])
def test_other_settings_are_refused(tiny, changed):
    folder, _ = tiny
    (name, value), *_ = changed.items()
    with pytest.raises(ValueError, match=f"got {name}={value}.*another --output"):
        demo.demo(folder, **({"fast": True, "seed": 3} | changed))


def test_what_was_begun_is_finished_without_training_anew(tiny, tmp_path):
    """A kill between training and testing: no step is taken again."""
    folder, rows = tiny
    path = folder / part_lib.SETTINGS
    before = path.read_text()
    content = json.loads(before)
    for key in ("scores", "parameters"):
        del content["parts"]["concatenation"][key]
    path.write_text(json.dumps(content))
    log = (folder / "concatenation" / "metrics.jsonl").read_text()
    again = demo.demo(folder, fast=True, seed=3)
    assert again[1].scores == rows[1].scores
    assert (folder / "concatenation" / "metrics.jsonl").read_text() == log


def test_an_interrupted_training_stops_the_demo(tiny, monkeypatch, capsys):
    folder, rows = tiny
    path = folder / part_lib.SETTINGS
    content = json.loads(path.read_text())
    del content["parts"]["concatenation"]["scores"]
    path.write_text(json.dumps(content))
    monkeypatch.setattr(part_lib.configuration, "call", lambda _: {"step": 1})
    assert demo.demo(folder, fast=True, seed=3) == rows[:1]
    assert "the same command goes on" in capsys.readouterr().out


def test_the_last_lines_work(tiny):
    folder, _ = tiny
    model = models.load(folder / "hint")
    state = model.adapt(demo.TRY_CONDITION)
    (answer,) = model.generate([demo.TRY_INPUT], state)
    assert isinstance(answer, str)
    with pytest.raises(ValueError, match=r"words of the vocabulary, got \['hello'\]"):
        model.adapt("hello")
