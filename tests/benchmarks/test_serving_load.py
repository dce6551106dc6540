"""The benchmark of serving: its loads, and a small run of it all."""

import contextlib
import json
import threading
import time

import httpx
import jax
import pytest
from conftest import tiny_hint
from letters_model import predictor

import hyperx
from benchmarks import random_models
from benchmarks.serving import __main__ as serving
from benchmarks.serving import loads
from hyperx.serve import server
from hyperx.serve.service import Service
from hyperx.serve.settings import Settings


@pytest.fixture(scope="module")
def url():
    """The address of a server in this process."""
    settings = Settings(
        port=0, max_batch=1, max_new_tokens=8, beams=(), chunk=4,
        input_lengths=(8,), condition_lengths=(16,),
    )  # fmt: skip
    service = Service(predictor(tiny_hint()), settings)
    running = server.Server(service, server.bind(settings))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{running.address}/health").status_code == 200:
                break
        time.sleep(0.1)
    yield running.address
    running.drain()
    thread.join(60)
    assert not thread.is_alive()


def test_a_small_run_writes_a_report(url, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def served(sizes, quick):
        assert quick
        yield url

    monkeypatch.setattr(serving, "_served", served)
    serving.main(["--quick", "--rounds=1", f"--output={tmp_path}"])
    found = json.loads((tmp_path / "serving.json").read_text())
    assert found["refused"] == 0
    for one, number in zip(found["tasks"], (1, 4), strict=True):
        assert one["tasks"] == number
        assert one["steady"] == len(one["latency"])
        assert found["rate"] <= one["most_per_second"][0] / 2
    assert (tmp_path / "serving.png").stat().st_size > 1000


def test_clients_that_wait_and_requests_at_a_rate_are_answered(url):
    ids, seconds = loads.register(url, 3, 8)
    assert len(set(ids)) == len(seconds) == 3
    load = loads.Load(url, ids, letters=7, new_tokens=2)
    waiting = load.waiting(clients=2, seconds=0.5)
    assert len(waiting.seconds) >= 2
    # None of the clients ever had two requests open.
    assert sum(waiting.seconds) <= 2 * waiting.elapsed
    steady = load.steady(rate=40, seconds=0.5)
    assert 5 < len(steady.seconds) < 50
    assert steady.refused == waiting.refused == 0


def test_refusals_are_counted(url):
    ids, _ = loads.register(url, 1, 8)
    too_long = loads.Load(url, ids, letters=7, new_tokens=99)
    answers = too_long.steady(rate=40, seconds=0.3)
    assert answers.refused > 0
    assert answers.seconds == []


def test_a_random_model_is_served_and_never_ends(tmp_path):
    config = random_models.hint(random_models.backbone(quick=True))
    random_models.save(config, tmp_path / "model", {"condition": 8, "inputs": 8})
    model = hyperx.load(tmp_path / "model")
    tokens = random_models.random_tokens(config, 1, 4, 8, seed=0)
    condition = random_models.random_tokens(config, 1, 8, seed=1)
    out, _ = model.generate_tokens(tokens, model.adapt_tokens(condition), 12)
    assert (out > 1).all()
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: bool((a == b).all()),
            model.params,
            random_models.parameters(config, random_models.one_device()),
        )
    )
