"""How windows of plain text are cut: nothing is lost, and nothing leaks."""

import numpy as np
import pytest

from hyperx.data.c4 import splits

GAP = -1


def window(length=512):
    """Tokens that are all different, so that a token tells its position."""
    return np.arange(100, 100 + length, dtype=np.int32)


def draws(cut, length=512, count=2000):
    for number in range(count):
        yield cut(window(length), splits.generator(0, number, 0))


def caclm(tokens, random, **bounds):
    return splits.caclm(tokens, random, gap=GAP, **bounds)


def around_gap(tokens):
    """What lies before and after the gap."""
    (place,) = np.flatnonzero(tokens == GAP)
    return tokens[:place].tolist(), tokens[place + 1 :].tolist()


def test_windows_of_a_document():
    lengths = [len(part) for part in splits.windows(window(1300), 512)]
    assert lengths == [512, 512, 276]
    assert np.concatenate([*splits.windows(window(1300), 512)]).tolist() == [
        *window(1300)
    ]
    assert [len(part) for part in splits.windows(window(512 + 63), 512)] == [512]
    assert [len(part) for part in splits.windows(window(64), 512)] == [64]
    assert not [*splits.windows(window(63), 512)]
    with pytest.raises(ValueError, match="at least 64 tokens, got 63"):
        next(splits.windows(window(), 63))


@pytest.mark.parametrize("length", [64, 100, 512])
def test_three_parts_are_the_window(length):
    for parts in draws(splits.prefix_lm, length):
        a, b, c = parts.condition, parts.inputs, parts.targets
        assert [*a, *b, *c] == [*window(length)]
        assert [*parts.prompt] == [*a, *b]
        assert len(a) >= 1
        assert len(c) >= 3


def test_three_parts_have_the_published_lengths():
    parts = [*draws(splits.prefix_lm, count=20_000)]
    means = [
        np.mean([len(getattr(p, name)) for p in parts])
        for name in ("condition", "inputs", "targets")
    ]
    np.testing.assert_allclose(means, [255, 127, 130], atol=4)
    assert np.mean([len(p.inputs) == 0 for p in parts]) == pytest.approx(
        0.0134, abs=0.003
    )
    # Independent cuts: where in its range the second lies says nothing of the first.
    first = np.array([len(p.condition) for p in parts])
    place = np.array([len(p.inputs) for p in parts]) / np.maximum(509 - first, 1)
    wide = first < 460
    assert abs(np.corrcoef(first[wide], place[wide])[0, 1]) < 0.03


@pytest.mark.parametrize("length", [64, 100, 511, 512])
def test_four_parts_are_the_window(length):
    most = min(128, length // 4)
    seen = set()
    for parts in draws(caclm, length):
        before, after = around_gap(parts.condition)
        b, c = parts.inputs.tolist(), parts.targets.tolist()
        assert [*before, *b, *c, *after] == [*window(length)]
        assert around_gap(parts.prompt) == (before + b, after)
        assert 16 <= len(b) <= most
        assert 16 <= len(c) <= most
        assert not {*parts.condition} & {*b, *c}
        assert not {*parts.prompt} & {*c}
        seen.add((not before, not after))
    if length == 64:  # small enough for the block to touch either end now and then
        assert seen == {(False, False), (True, False), (False, True)}


def test_four_parts_are_uniform():
    parts = [*draws(caclm, count=20_000)]
    for name in ("inputs", "targets"):
        lengths = [len(getattr(p, name)) for p in parts]
        assert (min(lengths), max(lengths)) == (16, 128)
        assert np.mean(lengths) == pytest.approx(72, abs=1)
    before = [len(around_gap(p.condition)[0]) for p in parts]
    after = [len(around_gap(p.condition)[1]) for p in parts]
    assert np.mean(before) == pytest.approx((512 - 144) / 2, abs=3)
    assert np.mean(before) == pytest.approx(np.mean(after), abs=4)


def test_bounds_of_four_parts():
    for parts in draws(lambda *a: caclm(*a, shortest=2, longest=5), count=200):
        assert 2 <= len(parts.inputs) <= 5
        assert 2 <= len(parts.targets) <= 5
    for bounds in ({}, {"shortest": 6, "longest": 5}, {"shortest": 0}):
        with pytest.raises(ValueError, match="expected parts of at least"):
            caclm(window(63), splits.generator(0, 0, 0), **bounds)


@pytest.mark.parametrize("cut", [splits.prefix_lm, caclm])
def test_cuts_depend_on_seed_document_and_window_alone(cut):
    def lengths(*key):
        return tuple(map(len, cut(window(), splits.generator(*key))))

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (7, 5, 3)]
    assert [lengths(*key) for key in keys] == [lengths(*key) for key in keys]
    assert len({lengths(*key) for key in keys}) == len(keys)
