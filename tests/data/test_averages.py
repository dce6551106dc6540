"""Averages of benchmarks: whole, or told what is missing."""

import pytest

from hyperx.data import averages

MEMBERS = (("a", "f1"), ("b", "accuracy"))
VALUES = {"a": {"f1": 10.0, "accuracy": 0.0}, "b": {"accuracy": 30.0}, "c": {"f1": 7.0}}


def test_a_benchmark_averages_its_metric_of_each_member():
    benchmark = averages.Benchmark("both", MEMBERS, averages.mean, "Both")
    assert benchmark.of(VALUES) == {"mean": 20.0}
    assert benchmark.metrics() == {"a": "f1", "b": "accuracy"}
    assert benchmark.missing(VALUES) == []
    late = averages.Benchmark("both", lambda: MEMBERS, averages.mean)
    assert late.of(VALUES) == {"mean": 20.0}


def test_what_is_missing_is_refused_unless_told():
    benchmark = averages.Benchmark("both", MEMBERS, averages.mean)
    values = {"a": {"f1": 10.0}, "b": {"f1": 50.0}}
    with pytest.raises(ValueError, match="all 2 members of both, got none of b/accur"):
        benchmark.of(values)
    assert benchmark.of(values, allow_missing=True) == {"mean": 10.0}
    with pytest.raises(ValueError, match="got none of a/f1, b/accuracy"):
        benchmark.of({}, allow_missing=True)


def test_a_task_is_a_member_once():
    twice = averages.Benchmark("twice", (*MEMBERS, ("a", "accuracy")), averages.mean)
    with pytest.raises(ValueError, match=r"each task of twice once, got \['a'\] more"):
        twice.of(VALUES)


def test_groups_are_averaged_by_their_median_first():
    values = {"x_1": 1.0, "x_2": 2.0, "x_3": 9.0, "y_1": 4.0}
    group = lambda name: name[0]  # noqa: E731
    found = averages.over_groups(values, group)
    assert found == {"x": 2.0, "y": 4.0, "mean": 3.0}
    assert averages.over_groups(values, group, max) == {"x": 9.0, "y": 4.0, "mean": 6.5}


def test_a_benchmark_registered_again_replaces_the_first(monkeypatch):
    monkeypatch.setattr(averages, "_BENCHMARKS", {})
    first = averages.Benchmark("both", MEMBERS, averages.mean)
    second = averages.Benchmark("both", MEMBERS[:1], averages.mean)
    assert averages.register([first]) == (first,)
    averages.register(iter([second]))
    assert averages.registered() == (second,)
