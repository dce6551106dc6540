"""Answers over loopback equal the predictor's own, whatever shares their batch."""

import json
from concurrent import futures

import httpx
import jax
import numpy as np
import pytest
from conftest import TINY
from letters_model import predictor
from served import LETTERS, serving, texts

from hyperx import model
from hyperx.inference.bank import Bank
from hyperx.inference.decoding import Beam, Greedy, Sample
from hyperx.methods import hyperformer, plain


@pytest.fixture(scope="module")
def served():
    with serving() as served:
        yield served


def conditions(count):
    return [
        f"task {LETTERS[i % 26]}{LETTERS[i // 26]} of many"[:20] for i in range(count)
    ]


def inputs(seed, count):
    rng = np.random.default_rng(seed)
    return [
        "".join(rng.choice(list(LETTERS), rng.integers(1, 11))) for _ in range(count)
    ]


def test_generate_equals_the_predictor(served):
    state = served.model.adapt("swap")
    body = {"condition": "swap", "inputs": ["abc", "de"], "max_new_tokens": 9}
    with served.client() as client:
        answer = client.post("/v1/generate", json=body)
        by_id = body | {"state": answer.json()["state"]}
        del by_id["condition"]
        assert client.post("/v1/generate", json=by_id).json() == answer.json()
    expected = served.model.generate(["abc", "de"], state, max_new_tokens=9)
    assert texts(answer) == expected
    tokens = served.model.encode_text(["abc", "de"], "inputs")
    out, scores = served.model.generate_tokens(tokens[None], state, 9)
    outputs = answer.json()["outputs"]
    np.testing.assert_allclose([o["score"] for o in outputs], scores[0], atol=1e-4)
    assert [o["tokens"] for o in outputs] == (out[0] != 0).sum(-1).tolist()
    assert [o["ended"] for o in outputs] == (out[0] == 1).any(-1).tolist()


@pytest.mark.parametrize("tasks", [1, 10, 100])
def test_tasks_mix_without_touching_each_other(served, tasks):
    asked = [
        (condition, inputs(number, 1 + number % 3))
        for number, condition in enumerate(conditions(tasks) * (1 if tasks > 9 else 12))
    ]

    def ask(one):
        body = {"condition": one[0], "inputs": one[1], "max_new_tokens": 6}
        with served.client() as client:
            return texts(client.post("/v1/generate", json=body))

    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, asked))
    states = {condition: served.model.adapt(condition) for condition, _ in asked}
    for (condition, given), answer in zip(asked, answers, strict=True):
        expected = served.model.generate(given, states[condition], max_new_tokens=6)
        assert answer == expected


def test_sampling_and_beams_equal_the_predictors(served):
    state, given = served.model.adapt("swap"), ["abc", "de", "f"]
    with served.client() as client:
        sampled = client.post("/v1/generate", json=dict(
            condition="swap", inputs=given, temperature=0.9, top_k=20, top_p=0.95,
            seed=7, max_new_tokens=8,
        ))  # fmt: skip
        beams = client.post("/v1/generate", json=dict(
            condition="swap", inputs=given, beams=2, returned=2, length_penalty=1.0,
            max_new_tokens=8,
        ))  # fmt: skip
    how = dict(max_new_tokens=8, decoding=Sample(0.9, 20, 0.95), seed=7)
    assert texts(sampled) == served.model.generate(given, state, **how)
    how = dict(max_new_tokens=8, decoding=Beam(2, 1.0), returned=2)
    expected = served.model.generate(given, state, **how)
    assert texts(beams) == [text for own in expected for text in own]


@pytest.mark.parametrize(
    ("asked", "decoding"),
    [
        (dict(top_p=0.9), Sample(top_p=0.9)),
        (dict(top_k=20), Sample(top_k=20)),
        (dict(temperature=0), Greedy()),
        (dict(beams=1, temperature=0, top_k=20), Greedy()),
        (dict(beams=2), Beam(2)),
    ],
)
def test_settings_mean_what_they_mean_elsewhere(served, asked, decoding):
    given = ["abc", "de", "f", "ghi"]
    body = dict(condition="swap", inputs=given, seed=3, max_new_tokens=8)
    with served.client() as client:
        answer = client.post("/v1/generate", json=body | asked)
    expected = served.model.generate(
        given, served.model.adapt("swap"), max_new_tokens=8, decoding=decoding, seed=3
    )
    assert texts(answer) == expected


def test_score_equals_the_predictor(served):
    given = ["abc", "de"]
    choices = [["x", "yz", "xyz", "zz", "y", "zyx"], ["w"]]
    body = {"condition": "swap", "inputs": given, "choices": choices}
    with served.client() as client:
        answer = client.post("/v1/score", json=body).json()
    expected = served.model.score(given, choices, served.model.adapt("swap"))
    assert [len(own) for own in answer["scores"]] == [6, 1]
    for got, own in zip(answer["scores"], expected, strict=True):
        np.testing.assert_allclose(got, own, atol=1e-4)


def test_streams_tell_the_tokens_of_the_answer(served):
    body = {"condition": "swap", "inputs": ["abc", "de"], "max_new_tokens": 9}
    with served.client() as client:
        whole = client.post("/v1/generate", json=body).json()
        events = streamed(client, body | {"stream": True})
    told = ["", ""]
    for event, data in events[:-1]:
        assert event == "tokens"
        told[data["input"]] += data["text"]
    assert events[-1] == ("done", whole)
    assert told == [output["text"] for output in whole["outputs"]]
    assert len(events) > 5


def streamed(client, body):
    with client.stream("POST", "/v1/generate", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts = "".join(answer.iter_text()).strip().split("\n\n")
    lines = [part.split("\n") for part in parts]
    return [(event[7:], json.loads(data[6:])) for event, data in lines]


def test_states_are_registered_found_and_forgotten(served):
    with served.client() as client:
        new = client.post("/v1/states", json={"condition": "a brand new condition"})
        again = client.post("/v1/states", json={"condition": "a brand new condition"})
        assert (new.status_code, again.status_code) == (201, 200)
        assert new.json() == again.json()
        assert new.json()["bytes"] == served.model.adapt("a brand new condition").nbytes
        where = f"/v1/states/{new.json()['id']}"
        assert client.get(where).json() == new.json()
        assert client.delete(where).status_code == 204
        assert client.get(where).status_code == 404
        assert client.delete(where).status_code == 404


def test_nothing_compiles_after_warm_up(served):
    """200 requests of all kinds, tasks, lengths and sizes."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: compiled.append(name)
    )
    rng = np.random.default_rng(0)
    tasks = conditions(40)
    bodies = []
    for number in range(200):
        given = inputs(number, int(rng.integers(1, 6)))
        body = {"condition": tasks[rng.integers(40)], "inputs": given}
        match number % 4:
            case 0:
                body["choices"] = [inputs(number, 3)] * len(given)
            case 1:
                body |= {"temperature": float(rng.random()), "top_k": number}
            case 2:
                body |= {"beams": 2, "returned": 1 + number % 2}
        if "choices" not in body:
            body["max_new_tokens"] = int(rng.integers(1, 17))
        bodies.append(body)

    def ask(body):
        route = "/v1/score" if "choices" in body else "/v1/generate"
        with served.client() as client:
            return client.post(route, json=body).status_code

    with futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, bodies)) == {200}
    assert not [name for name in compiled if name.endswith("backend_compile_duration")]
    jax.jit(lambda x: x + 41)(1)
    assert [name for name in compiled if name.endswith("backend_compile_duration")]


def test_pages_and_numbers(served):
    with served.client() as client:
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "http://" not in page.text
        assert "https://" not in page.text
        paths = client.get("/openapi.json").json()["paths"]
        assert {"/v1/states", "/v1/generate", "/v1/score", "/health"} <= paths.keys()
        assert client.get("/docs").status_code == 200
        health = client.get("/health").json()
        assert health["ready"]
        assert health["compiled"] == health["programs"] > 0
        assert client.get("/health/live").text == "live"
        numbers = numbers_of(client)
        done = 'hyperx_requests_total{code="200",route="/v1/generate"}'
        before = numbers.get(done, 0)
        body = {"condition": "swap", "inputs": ["abc"], "max_new_tokens": 4}
        client.post("/v1/generate", json=body)
        client.get("/nowhere")
        numbers = numbers_of(client)
    assert numbers[done] == before + 1
    assert numbers['hyperx_requests_total{code="404",route="unknown"}'] >= 1
    assert numbers["hyperx_bank_bytes"] > 0
    assert numbers["hyperx_bank_misses_total"] > 0
    assert numbers["hyperx_tokens_total"] > 0
    assert numbers["hyperx_batch_fill_count"] > 0
    assert numbers["hyperx_queue_rows"] == 0


def numbers_of(client):
    lines = client.get("/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_other_models_are_served_alike():
    """One that reads names of tasks, and one that reads no condition."""
    method = hyperformer.HyperFormer(tasks=("up", "down"))
    own = predictor(model.ModelConfig(backbone=TINY, method=method))
    few = dict(beams=(), max_batch=1)
    with serving(own, **few) as served, served.client() as client:
        body = {"condition": "down", "inputs": ["abc"], "max_new_tokens": 4}
        expected = own.generate(["abc"], own.adapt("down"), max_new_tokens=4)
        assert texts(client.post("/v1/generate", json=body)) == expected
        unknown = client.post("/v1/states", json={"condition": "sideways"})
        assert unknown.status_code == 422
        assert "expected a task of" in unknown.json()["error"]["message"]
    own = predictor(model.ModelConfig(backbone=TINY, method=plain.Plain()))
    with serving(own, **few) as served, served.client() as client:
        body = {"inputs": ["abc"], "max_new_tokens": 4}
        expected = own.generate(["abc"], max_new_tokens=4)
        assert texts(client.post("/v1/generate", json=body)) == expected
        refused = client.post("/v1/generate", json=body | {"condition": "up"})
        assert refused.status_code == 422
        assert "expected no condition" in refused.json()["error"]["message"]
        assert client.post("/v1/states", json={"condition": "up"}).status_code == 422


def test_a_later_server_finds_states_again(tmp_path):
    few = dict(beams=(), max_batch=1, spill=str(tmp_path))
    with serving(**few) as served, served.client() as client:
        first = client.post("/v1/states", json={"condition": "kept"}).json()
    with serving(**few) as served, served.client() as client:
        body = {"state": first["id"], "inputs": ["abc"], "max_new_tokens": 4}
        answer = client.post("/v1/generate", json=body)
        expected = served.model.generate(
            ["abc"], served.model.adapt("kept"), max_new_tokens=4
        )
        assert texts(answer) == expected
        assert numbers_of(client)["hyperx_bank_loaded_total"] == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(served.url)


def test_a_start_leaves_the_states_on_disk_alone(tmp_path):
    method = hyperformer.HyperFormer(tasks=("up", "down"))
    own = predictor(model.ModelConfig(backbone=TINY, method=method))
    bank = Bank(own, bytes=1 << 30, spill=tmp_path)
    state_id = bank.put("up")
    few = dict(beams=(), max_batch=1, max_inputs=1)
    few |= dict(spill=str(tmp_path), spill_bytes=bank.statistics().spilled_bytes)
    before = list(tmp_path.iterdir())
    with serving(own, **few) as served, served.client() as client:
        assert list(tmp_path.iterdir()) == before
        body = {"state": state_id, "inputs": ["abc"], "max_new_tokens": 4}
        expected = own.generate(["abc"], own.adapt("up"), max_new_tokens=4)
        assert texts(client.post("/v1/generate", json=body)) == expected
