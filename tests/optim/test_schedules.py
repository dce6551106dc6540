import numpy as np
import pytest

from hyperx.optim import schedules


def test_rsqrt_is_flat_then_falls_with_the_root():
    rate = schedules.rsqrt(factor=2.0, warmup_steps=100)
    np.testing.assert_allclose(
        [rate(0), rate(100), rate(400)], [0.2, 0.2, 0.1], rtol=1e-6
    )


def test_cosine_rises_then_falls_to_the_floor():
    rate = schedules.cosine(peak=1.0, total_steps=30, warmup=1 / 3, floor=0.1)
    steps = [0, 5, 10, 20, 30, 99]
    np.testing.assert_allclose(
        [rate(step) for step in steps], [0.0, 0.5, 1.0, 0.55, 0.1, 0.1], rtol=1e-6
    )


def test_constant():
    assert schedules.constant(value=0.3)(12345) == 0.3


def test_refuses_warmup_beyond_the_end():
    with pytest.raises(ValueError, match="share in .*, got 1.5"):
        schedules.cosine(peak=1.0, total_steps=20, warmup=1.5)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        schedules.rsqrt(warmup_steps=0)
