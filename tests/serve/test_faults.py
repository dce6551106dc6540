"""What clients do wrong, or break: told clearly, and without harm to others."""

import json
import signal
import socket
import time
from concurrent import futures

import httpx
import pytest
from conftest import tiny_hint
from letters_model import predictor
from served import serving, texts

from hyperx.inference.bank import Bank
from hyperx.serve import settings

GOOD = {"condition": "swap", "inputs": ["abc"], "max_new_tokens": 4}
TOKEN = "a-secret-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def served():
    few = dict(beams=(2,), max_batch=2, max_queue=16, max_inputs=4, max_choices=3)
    with serving(**few, token=TOKEN, max_body=2000, body_seconds=1.0) as served:
        yield served


@pytest.fixture
def client(served):
    with served.client(headers=HEADERS) as client:
        yield client


@pytest.fixture(autouse=True)
def _others_are_served(served):
    """Whatever a test has done."""
    yield
    expected = served.model.generate(
        ["abc"], served.model.adapt("swap"), max_new_tokens=4
    )
    with served.client(headers=HEADERS) as client:
        assert texts(client.post("/v1/generate", json=GOOD)) == expected
    assert served.service.live


def told(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["status"] == status
    return error["message"]


REFUSED = [
    ({"inputs": []}, "inputs: expected"),
    ({"inputs": "abc"}, "inputs: expected a valid list, got 'abc'"),
    ({"inputs": [3]}, "inputs.0: expected a valid string, got 3"),
    ({"inputs": ["a"] * 5}, "expected at most 4 inputs, got 5"),
    ({"inputs": ["a" * 12]}, r"inputs[0]: expected at most 12 tokens"),
    ({"inputs": ["A"]}, "inputs[0]: expected letters, got 'A'"),
    ({"inputs": ["\ud800"]}, "inputs[0]: expected text that UTF-8 can hold"),
    ({"condition": "a" * 24}, "condition: expected at most 24 tokens"),
    ({"condition": None}, "expected a state or a condition, got neither"),
    ({"state": "0" * 48}, "expected a state or a condition, got both"),
    ({"state": "x", "condition": None}, "state: expected"),
    ({"max_new_tokens": 0}, "max_new_tokens: expected"),
    ({"max_new_tokens": 17}, "expected max_new_tokens of at most 16, got 17"),
    ({"max_new_tokens": "4"}, "max_new_tokens: expected a valid integer, got '4'"),
    ({"max_new_tokens": True}, "max_new_tokens: expected a valid integer, got True"),
    ({"temperature": -1}, "temperature: expected"),
    ({"temperature": float("nan")}, "temperature: expected"),
    ({"temperature": float("inf")}, "temperature: expected"),
    ({"top_k": 0}, "top_k: expected"),
    ({"top_p": 1.5}, "top_p: expected"),
    ({"beams": 3}, "expected beams among [1, 2], got 3"),
    ({"beams": 2, "temperature": 1}, "beam search or sampling, got beams and temp"),
    ({"beams": 2, "top_k": 10}, "beam search or sampling, got beams and top_k"),
    ({"length_penalty": 1}, "expected beams with a length_penalty, got beams=1"),
    ({"beams": 2, "stream": True}, "expected beams=1 with stream"),
    ({"returned": 2}, "expected at most 1 outputs of 1 beams, got returned=2"),
    ({"seed": -1}, "seed: expected"),
    ({"seed": 2**40}, "seed: expected"),
    ({"tempreature": 1}, "'tempreature': expected no such name, got one"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_values_that_cannot_be_are_refused(client, change, message):
    body = json.dumps(GOOD | change)
    answer = client.post(
        "/v1/generate", content=body, headers={"Content-Type": "application/json"}
    )
    assert message in told(answer, 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"null", 422),
        (b"[1, 2]", 422),
        (b'"text"', 422),
        (b"[" * 1500, 400),
        (b'{"inputs": ["\xff\xfe"], "condition": "a"}', 400),
        (b"\x00\x01\x02", 400),
    ],
)
@pytest.mark.parametrize("route", ["/v1/generate", "/v1/score", "/v1/states"])
def test_bodies_that_are_no_requests_are_refused(client, route, body, status):
    answer = client.post(
        route, content=body, headers={"Content-Type": "application/json"}
    )
    assert told(answer, status)


def test_scores_that_cannot_be_are_refused(client):
    body = {"condition": "swap", "inputs": ["a", "b"], "choices": [["c"]]}
    answer = client.post("/v1/score", json=body)
    assert "one list of choices per input, got 1 lists" in told(answer, 422)
    answer = client.post("/v1/score", json=body | {"choices": [["c"], []]})
    assert "choices.1: expected" in told(answer, 422)
    answer = client.post("/v1/score", json=body | {"choices": [["c"], ["d"] * 4]})
    assert "expected at most 3 choices, got 4" in told(answer, 422)
    answer = client.post("/v1/score", json=body | {"choices": [["c"], ["d" * 16]]})
    assert "choices: expected at most 16 tokens" in told(answer, 422)


def test_bodies_that_are_too_large_are_refused(client):
    answer = client.post("/v1/generate", json=GOOD | {"inputs": ["a" * 3000]})
    assert "expected at most 2000 bytes, got 3" in told(answer, 413)
    parts = (b"x" * 500 for _ in range(10))  # without a length in front
    assert "expected at most 2000 bytes" in told(
        client.post("/v1/generate", content=parts), 413
    )


def test_a_body_that_does_not_arrive_is_given_up(served):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(
            f"POST /v1/generate HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer "
            f"{TOKEN}\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        assert b"408" in raw.recv(4096)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"},
     {"Authorization": "Bearer"}, {"Authorization": b"Bearer \xff"}],
)  # fmt: skip
def test_the_token_is_asked_for_before_all_else(served, headers):
    with served.client(headers=headers) as client:
        for route in ("/v1/generate", "/v1/score", "/v1/states", "/v1/nowhere"):
            answer = client.post(route, content=b"{")
            assert "expected the header" in told(answer, 401)
            assert TOKEN not in answer.text
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200


def test_states_of_others_and_of_nobody(client, served):
    unknown = served.model.fingerprint + "0" * 32
    other = Bank(predictor(tiny_hint(), seed=1), bytes=1 << 30)
    foreign = other.remember("swap")
    for state, status, message in (
        (unknown, 404, "expected the id of a known state"),
        (foreign, 409, "expected a state id of model"),
    ):
        body = {"state": state, "inputs": ["a"]}
        assert message in told(client.post("/v1/generate", json=body), status)
        assert message in told(client.get(f"/v1/states/{state}"), status)
        assert message in told(client.delete(f"/v1/states/{state}"), status)
    assert told(client.get("/v1/states/what"), 422)
    assert told(client.get("/v1/nowhere"), 404)
    assert told(client.get("/v1/generate"), 405)


def test_a_full_queue_says_when_to_come_back(client, served, monkeypatch):
    gate = slow(served, monkeypatch)
    with futures.ThreadPoolExecutor(8) as pool:
        body = GOOD | {"inputs": ["abc"] * 4}
        waiting = [
            pool.submit(client.post, "/v1/generate", json=body) for _ in "abcdef"
        ]
        answers, full = [], []
        while not full:
            full = [w for w in waiting if w.done() and w.result().status_code == 429]
        gate.set()
        answers = [w.result() for w in waiting]
    for answer in answers:
        if answer.status_code == 429:
            assert "waiting" in told(answer, 429)
            assert int(answer.headers["Retry-After"]) >= 1
        else:
            assert len(texts(answer)) == 4
    assert sum(answer.status_code == 200 for answer in answers) >= 4


def slow(served, monkeypatch):
    """Holds the device until the gate is set."""
    import threading

    gate, advance = threading.Event(), served.model.advance

    def held(running, count):
        gate.wait(30)
        return advance(running, count)

    monkeypatch.setattr(served.model, "advance", held)
    return gate


def test_what_takes_too_long_is_given_up(client, served, monkeypatch):
    gate = slow(served, monkeypatch)
    short = settings.Settings(**vars(served.service.settings) | {"timeout": 0.3})
    monkeypatch.setattr(served.service, "settings", short)
    with served.client(headers=HEADERS) as client:
        stream = client.post("/v1/generate", json=GOOD | {"stream": True})
        assert stream.status_code == 200
        assert "event: error" in stream.text
        assert '"status": 504' in stream.text
    gate.set()


def test_clients_that_leave_free_the_device(client, served, monkeypatch):
    counts, advance = [], served.model.advance

    def counted(running, count):
        counts.append(count)
        time.sleep(0.3)
        return advance(running, count)

    monkeypatch.setattr(served.model, "advance", counted)
    body = GOOD | {"inputs": ["abc", "de"], "max_new_tokens": 16, "stream": True}
    with client.stream("POST", "/v1/generate", json=body) as answer:
        next(answer.iter_text())
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/generate", json=GOOD | {"max_new_tokens": 16}, timeout=0.2)
    deadline = time.monotonic() + 30
    while not served.service.idle:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    assert len(counts) < 2 * 16 // 2


def test_a_batch_that_fails_fails_alone(client, served, monkeypatch, caplog):
    with monkeypatch.context() as broken:
        broken.setattr(served.model, "advance", lambda running, count: 1 / 0)
        answer = client.post("/v1/generate", json=GOOD)
    assert told(answer, 500) == "expected an answer, got an error of the service"
    assert "ZeroDivisionError" in caplog.text
    with monkeypatch.context() as broken:
        broken.setattr(served.model, "adapt_tokens", lambda tokens: 1 / 0)
        answer = client.post("/v1/generate", json=GOOD | {"condition": "never seen"})
    assert told(answer, 500)


def test_a_condition_that_is_deleted_while_its_request_waits(
    client, served, monkeypatch
):
    body = GOOD | {"condition": "held", "max_new_tokens": 16}
    gate = slow(served, monkeypatch)
    with futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.post, "/v1/generate", json=GOOD)
        while len(served.service._waiting) or not served.service._open:
            time.sleep(0.01)
        waiting = pool.submit(client.post, "/v1/generate", json=body)
        while not len(served.service._waiting):
            time.sleep(0.01)
        tokens = served.service._reading.condition("held")
        state_id = served.service.bank.state_id(tokens)
        assert client.delete(f"/v1/states/{state_id}").status_code == 204
        gate.set()
        assert texts(running.result())
        expected = served.model.generate(
            ["abc"], served.model.adapt("held"), max_new_tokens=16
        )
        assert texts(waiting.result()) == expected


def test_draining_answers_what_was_accepted_and_refuses_the_rest(monkeypatch):
    with serving(beams=(), max_batch=1) as served, served.client() as client:
        gate = slow(served, monkeypatch)
        with futures.ThreadPoolExecutor(3) as pool:
            accepted = [
                pool.submit(client.post, "/v1/generate", json=GOOD) for _ in "abc"
            ]
            while len(served.service._open) < 3:
                time.sleep(0.01)
            served.server.handle_exit(signal.SIGTERM, None)
            late = client.post("/v1/generate", json=GOOD)
            assert "got one that ends" in told(late, 503)
            assert "Retry-After" in late.headers
            health = client.get("/health")
            assert health.status_code == 503
            assert health.json()["draining"]
            gate.set()
            answers = [texts(one.result()) for one in accepted]
    assert answers[0] == answers[1] == answers[2]


def test_a_second_signal_ends_at_once(monkeypatch):
    with serving(beams=(), max_batch=1) as served, served.client() as client:
        gate = slow(served, monkeypatch)
        counts, held = [], served.model.advance
        monkeypatch.setattr(
            served.model, "advance", lambda *how: counts.append(how) or held(*how)
        )
        with futures.ThreadPoolExecutor(3) as pool:
            body = GOOD | {"max_new_tokens": 16}
            accepted = [
                pool.submit(client.post, "/v1/generate", json=body) for _ in "abc"
            ]
            while len(served.service._open) < 3 or not counts:
                time.sleep(0.01)
            for _ in range(2):
                served.server.handle_exit(signal.SIGTERM, None)
            answers = [one.result() for one in accepted]
        gate.set()
    for answer in answers:
        assert "got one that ends" in told(answer, 503)
    assert len(counts) == 1
    assert served.server.exit_code == 1


def test_nobody_is_served_before_all_is_compiled(monkeypatch):
    import threading

    from served import Served

    model, gate = predictor(tiny_hint()), threading.Event()
    begin = model.begin
    monkeypatch.setattr(model, "begin", lambda *how: gate.wait(60) and begin(*how))
    served = Served(model, beams=(), max_batch=1).start(ready=False)
    with served.client() as client:
        health = client.get("/health")
        assert health.status_code == 503
        assert health.json()["live"]
        assert "programs compiled" in told(client.post("/v1/generate", json=GOOD), 503)
        gate.set()
    served.stop()


def test_the_public_is_served_with_a_token_only(tmp_path):
    for host in ("127.0.0.1", "::1", "localhost"):
        settings.Settings(host=host)
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(ValueError, match=f"expected a token for {host}"):
            settings.Settings(host=host)
        settings.Settings(host=host, token="x")
        settings.Settings(host=host, allow_public=True)
    assert "secret" not in repr(settings.Settings(token="secret"))
    (tmp_path / "token").write_text(" from-file\n")
    assert settings.read_token(str(tmp_path / "token"), "other") == "from-file"
    assert settings.read_token(None, "other") == "other"
    assert settings.read_token(None, None) is None
    for bad in ("", "two words", "schlüssel", "a\nb"):
        with pytest.raises(ValueError, match="expected a token of printable") as error:
            settings.read_token(None, bad)
        assert not bad or bad not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(max_batch=12), "max_batch to be a power of two, got 12"),
        (dict(beams=(32,)), r"expected beams from 2 to max_batch \(16\), got \[32\]"),
        (dict(max_queue=8), r"inputs of one request at least \(64\), got 8"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        settings.Settings(**wrong)
