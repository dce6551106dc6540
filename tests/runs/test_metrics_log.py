"""The log of metrics: what it holds after writing, resuming and being killed."""

import json
import math

import pytest

from hyperx.runs import metrics_log


def _log(folder, **options):
    return metrics_log.MetricsLog(folder, tensorboard=False, **options)


def test_lines_are_visible_as_soon_as_they_are_written(tmp_path):
    with _log(tmp_path / "new") as log:
        log.write(1, "train", {"loss": 2.5})
        log.write(1, "eval", {"em": 50})
        lines = (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "collection": "train", "values": {"loss": 2.5}},
        {"step": 1, "collection": "eval", "values": {"em": 50.0}},
    ]


def test_resuming_drops_what_lies_beyond(tmp_path):
    with _log(tmp_path) as log:
        for step in range(5):
            log.write(step, "train", {"loss": float(step)})
    with _log(tmp_path, resumed_step=2) as log:
        log.write(3, "train", {"loss": 30.0})
    records = metrics_log.read(tmp_path)
    assert [record["step"] for record in records] == [0, 1, 2, 3]
    assert records[3]["values"] == {"loss": 30.0}


def test_a_step_written_again_replaces_the_old_one(tmp_path):
    for value in (1.0, 2.0):
        with _log(tmp_path, resumed_step=0) as log:
            log.write(0, "eval", {"em": value})
            log.write(0, "train", {"loss": value})
    assert metrics_log.read(tmp_path) == [
        {"step": 0, "collection": "eval", "values": {"em": 2.0}},
        {"step": 0, "collection": "train", "values": {"loss": 2.0}},
    ]


def test_a_torn_last_line_is_dropped_and_another_is_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = '{"step": 1, "collection": "train", "values": {"loss": 1.0}}\n'
    path.write_text(line + line[:20])
    with _log(tmp_path, resumed_step=1):
        pass
    assert path.read_text() == line
    path.write_text("[]\n" + line)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1, got '\[\]'"):
        _log(tmp_path)


def test_values_that_json_cannot_hold(tmp_path):
    with _log(tmp_path) as log:
        log.write(1, "train", {"a": math.nan, "b": math.inf, "c": -math.inf})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    json.loads(line, parse_constant=pytest.fail)  # Valid for any reader.
    values = metrics_log.read(tmp_path)[0]["values"]
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)


def test_tensorboard_gets_the_same_numbers(tmp_path):
    tf = pytest.importorskip("tensorflow")
    with metrics_log.MetricsLog(tmp_path) as log:
        log.write(7, "train", {"loss": 1.5})
    (events,) = (tmp_path / "tensorboard").iterdir()
    summaries = [
        (event.step, value.tag, float(tf.make_ndarray(value.tensor)))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert summaries == [(7, "train/loss", 1.5)]
