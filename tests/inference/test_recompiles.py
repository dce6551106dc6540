"""What changes from request to request compiles nothing."""

import contextlib

import jax
import numpy as np
from conftest import initial_params, tiny_hint

from hyperx import sharding
from hyperx.inference.decoding import Beam, Greedy, Requests, Sample, Shape
from hyperx.inference.predictor import Predictor

COMPILED = "/jax/core/compile/backend_compile_duration"
REQUESTS = 200


@contextlib.contextmanager
def compilations():
    """A list that grows by one for everything that is compiled."""
    found = []

    def listen(event, duration, **_):
        if event == COMPILED:
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def tokens(random, *shape):
    return random.integers(2, 64, shape).astype(np.int32)


def wishes(random):
    """A row's strategy, its longest output and its seed."""
    strategies = (
        Greedy(),
        Sample(float(random.uniform(0.1, 2))),
        Sample(top_k=int(random.integers(1, 99))),
        Sample(top_p=float(random.uniform(0.1, 1))),
    )
    which = strategies[random.integers(len(strategies))]
    return Requests.of(which, int(random.integers(1, 9)), seed=int(random.integers(99)))


def serve(predictor, random, groups):
    """A batch of new tasks, of any fill and length within its bucket."""
    state = predictor.adapt_tokens(tokens(random, groups, random.integers(9, 17)))
    inputs = tokens(random, groups, random.integers(3, 5), random.integers(9, 17))
    if random.integers(3) == 0:
        beam = Beam(2, float(random.uniform(0, 2)))
        length, returned = int(random.integers(2, 9)), int(random.integers(1, 3))
        return predictor.generate_tokens(inputs, state, length, beam, returned=returned)
    size = inputs.shape[:2]
    each = [wishes(random) for _ in range(size[0] * size[1])]
    requests = jax.tree.map(lambda *leaves: np.stack(leaves).reshape(size), *each)
    if random.integers(2):
        running = predictor.begin(inputs, state, requests, Shape(8))
        return predictor.advance(running, int(random.integers(1, 9)))
    choices = tokens(random, *size, random.integers(3, 5), random.integers(2, 9))
    predictor.score_tokens(inputs, choices, state)
    return predictor.generate_rows(inputs, state, requests, Shape(8))


def test_mixed_requests_compile_nothing_after_a_warm_up():
    config = tiny_hint()
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        predictor = Predictor(config, initial_params(config), None, {})
    random = np.random.default_rng(0)
    with compilations() as found:
        for _ in range(12):
            for groups in (1, 2):
                serve(predictor, random, groups)
    assert found
    with compilations() as found:
        for _ in range(REQUESTS // 2):
            for groups in (1, 2):
                serve(predictor, random, groups)
    assert found == []
    with compilations() as found:
        serve(predictor, random, 4)
    assert found
