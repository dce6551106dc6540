"""The queue: oldest first, one kind at a time, bounded."""

import threading
import time

import pytest

from hyperx.serve.jobs import Job, Kind, Row
from hyperx.serve.waiting import FullError, Waiting

GENERATE, SCORE = Kind("generate", 8), Kind("score", 8)


def rows(kind, count):
    job = Job(count)
    return [Row(job, index, kind, "task") for index in range(count)]


def queue(limit=8, patience=0.0, room=3):
    return Waiting(limit, patience, lambda kind: room)


def test_the_oldest_row_decides_the_kind_and_order_is_kept():
    waiting = queue()
    first, second, third = rows(SCORE, 1), rows(GENERATE, 2), rows(SCORE, 3)
    for some in (first, second, third):
        waiting.put(some)
    assert waiting.take() == [*first, *third[:2]]
    assert waiting.take() == second
    assert waiting.take() == third[2:]
    assert len(waiting) == 0


def test_all_rows_of_a_request_fit_or_none():
    waiting = queue(limit=3)
    waiting.put(rows(GENERATE, 2))
    with pytest.raises(FullError, match="room for 2 rows, got 2 of 3 waiting"):
        waiting.put(rows(GENERATE, 2))
    assert len(waiting) == 2


def test_rows_that_nobody_waits_for_make_room_and_are_not_taken():
    waiting = queue(limit=3)
    gone, here = rows(GENERATE, 3), rows(GENERATE, 3)
    waiting.put(gone)
    gone[0].job.give_up()
    waiting.put(here)
    assert waiting.take() == here


def test_the_oldest_row_waits_for_company_but_not_for_long():
    waiting = queue(patience=0.2)
    first, second = rows(GENERATE, 1), rows(GENERATE, 1)
    waiting.put(first)
    threading.Timer(0.05, waiting.put, (second,)).start()
    start = time.monotonic()
    assert waiting.take() == [*first, *second]
    assert 0.15 < time.monotonic() - start < 2.0


def test_a_full_batch_does_not_wait():
    waiting = queue(patience=60.0)
    some = rows(GENERATE, 3)
    waiting.put(some)
    assert waiting.take() == some


def test_what_waits_is_taken_after_closing():
    waiting = queue(patience=60.0)
    some = rows(GENERATE, 1)
    waiting.put(some)
    waiting.close()
    assert waiting.take() == some
    assert waiting.take() == []


def test_a_job_is_answered_once_by_its_last_row_or_its_first_error():
    job = Job(2)
    job.finish(1, "b")
    assert not job.over
    job.finish(0, "a")
    assert job.answer.result() == ["a", "b"]
    job.fail(ValueError())
    failed = Job(2)
    failed.fail(KeyError())
    failed.finish(0, "a")
    failed.finish(1, "b")
    assert isinstance(failed.answer.exception(), KeyError)
    given_up = Job(1)
    given_up.give_up()
    given_up.finish(0, "a")
    assert given_up.answer.cancelled()
