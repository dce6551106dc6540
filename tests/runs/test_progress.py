"""Progress: when it prints, and the numbers it prints."""

import io

import pytest

from hyperx.runs import progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _run(stream, seconds_per_step, steps, start=0, **options):
    clock = Clock()
    with progress.Bar(steps, start, stream=stream, clock=clock, **options) as bar:
        for step in range(start + 1, steps + 1):
            clock.now += seconds_per_step
            bar.update(step, rows=8, loss=4 / step)
    return stream.getvalue()


def test_plain_lines_come_at_the_period_and_at_the_end():
    lines = _run(io.StringIO(), seconds_per_step=4, steps=8).splitlines()
    assert lines == [
        "train 3/8  loss 1.333  0.25 steps/s  2 rows/s  ETA 0:00:20",
        "train 6/8  loss 0.6667  0.25 steps/s  2 rows/s  ETA 0:00:08",
        "train 8/8  loss 0.5  0.25 steps/s  2 rows/s  ETA 0:00:00",
    ]


def test_a_resumed_run_counts_only_its_own_steps():
    (line,) = _run(io.StringIO(), seconds_per_step=2, steps=102, start=100).splitlines()
    assert line == "train 102/102  loss 0.03922  0.5 steps/s  4 rows/s  ETA 0:00:00"


def test_an_interrupted_run_shows_how_far_it_came():
    stream, clock = io.StringIO(), Clock()
    with (
        pytest.raises(KeyboardInterrupt),
        progress.Bar(10, stream=stream, clock=clock) as bar,
    ):
        clock.now += 1
        bar.update(4)
        raise KeyboardInterrupt
    assert stream.getvalue() == "train 4/10  4 steps/s  ETA 0:00:02\n"


def test_values_are_converted_only_when_shown():
    class Value:
        conversions = 0

        def __float__(self):
            Value.conversions += 1
            return 1.0

    clock = Clock()
    with progress.Bar(100, stream=io.StringIO(), clock=clock) as bar:
        for step in range(1, 101):
            clock.now += 1
            bar.update(step, loss=Value())
    assert Value.conversions == 10


def test_rates_can_be_read():
    clock = Clock()
    with progress.Bar(9, clock=clock, enabled=False) as bar:
        clock.now += 2
        bar.update(1, rows=6)
        assert bar.per_second() == (0.5, 3.0)


def test_rates_forget_the_slow_first_step():
    rate = progress.Rate(step=0, now=0.0)
    rate.mark(step=1, rows=2, now=60.0)  # Compilation.
    for step in range(2, 102):
        rate.mark(step, rows=2, now=59.0 + step)
    assert rate.per_second() == (1.0, 2.0)


def test_a_terminal_gets_a_bar_and_a_disabled_one_nothing():
    text = _run(Terminal(), seconds_per_step=1, steps=3)
    assert "3/3" in text
    assert "loss 1.333" in text
    assert _run(Terminal(), seconds_per_step=1, steps=3, enabled=False) == ""
    assert _run(io.StringIO(), seconds_per_step=60, steps=3, enabled=False) == ""
