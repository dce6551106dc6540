"""Clients of the soak: good ones, whose answers are checked, and bad ones."""

import contextlib
import json
import os
import random
import threading
import time
from collections import Counter

import httpx

from hyperx.data import startup

NEW_TOKENS = 8
# What is refused for a reason that the client may wait out.
BUSY = (429, 503)
MALFORMED = (b"", b"{", b"[1]", b'{"inputs": 3}', b'{"inputs": ["\xff"]}', b"[" * 999)


class Expected:
    """Requests with the answers of the predictor, found one by one.

    Attributes:
        generated: by condition, inputs and outputs.
        scored: by condition, an input, its choices and their scores.
    """

    def __init__(self, model_dir: os.PathLike[str] | str, tasks: int = 100) -> None:
        startup.prepare_tensorflow()
        import hyperx

        model, rng = hyperx.load(model_dir), random.Random(0)
        words = "abcdefghijklmnopqrstuvwxyz"
        self.generated, self.scored = {}, {}
        for _ in range(tasks):
            condition = f"replace {rng.choice(words)} with {rng.choice(words)}"
            state = model.adapt(condition)
            inputs = [
                " ".join(rng.choices(words, k=3)) for _ in range(rng.randint(1, 4))
            ]
            outputs = model.generate(inputs, state, max_new_tokens=NEW_TOKENS)
            self.generated[condition] = inputs, outputs
            choices = [" ".join(rng.choices(words, k=2)) for _ in range(3)]
            (scores,) = model.score(inputs[:1], [choices], state)
            self.scored[condition] = inputs[0], choices, scores.tolist()
        self.tasks = list(self.generated)


class Clients:
    """Threads that send requests until they are told to stop.

    Attributes:
        counts: of what was sent and what came of it.
        seconds: of good requests until answered.
        problems: in words, for a report.
        ending: set when the server is told to end, from when on it may be gone.
    """

    def __init__(self, expected: Expected, number: int) -> None:
        self._expected, self._number = expected, number
        self._lock = threading.Lock()
        self._ids: dict[str, str] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self.ending = threading.Event()
        self.counts: Counter[str] = Counter(wrong=0, unanswered=0, answered=0)
        self.seconds: list[float] = []
        self.problems: list[str] = []

    def start(self, url: str) -> None:
        """Starts them against a server."""
        self._stopping.clear()
        self.ending.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(url, seed), daemon=True)
            for seed in range(self._number)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends them after what they are about to do."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)

    def check_running(self) -> None:
        """Raises RuntimeError if one has ended by itself."""
        if not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError(f"expected clients that run, got {self.problems[-3:]}")

    def _run(self, url: str, seed: int) -> None:
        rng = random.Random(f"{url} {seed}")
        actions = [self._generate] * 6 + [self._score] * 2 + [self._stream] * 2
        actions += [self._leave, self._malformed, self._oversize, self._unknown]
        with httpx.Client(base_url=url, timeout=120) as client:
            while not self._stopping.is_set():
                try:
                    rng.choice(actions)(client, rng)
                except httpx.TransportError as error:
                    if not self.ending.is_set():
                        self._problem("unanswered", repr(error))
                    self._count("not taken at the end")
                    self._stopping.wait(0.1)

    def _task(self, rng: random.Random) -> tuple[str, dict[str, str]]:
        """A condition, told by its text or by the id it got; few, some or many."""
        tasks = self._expected.tasks[: rng.choice([1, 10, 100])]
        condition = rng.choice(tasks)
        if condition in self._ids and rng.random() < 0.7:
            return condition, {"state": self._ids[condition]}
        return condition, {"condition": condition}

    def _generate(self, client: httpx.Client, rng: random.Random) -> None:
        condition, body = self._task(rng)
        inputs, outputs = self._expected.generated[condition]
        body |= {"inputs": inputs, "max_new_tokens": NEW_TOKENS}
        answer = self._ask(client, "/v1/generate", body)
        if answer is not None:
            self._ids[condition] = answer["state"]
            self._check(body, [one["text"] for one in answer["outputs"]], outputs)

    def _score(self, client: httpx.Client, rng: random.Random) -> None:
        condition, body = self._task(rng)
        text, choices, scores = self._expected.scored[condition]
        body |= {"inputs": [text], "choices": [choices]}
        answer = self._ask(client, "/v1/score", body)
        if answer is not None:
            (got,) = answer["scores"]
            pairs = zip(got, scores, strict=True)
            close = all(abs(one - other) < 1e-3 for one, other in pairs)
            self._check(body, close, True)

    def _stream(self, client: httpx.Client, rng: random.Random) -> None:
        condition, body = self._task(rng)
        inputs, outputs = self._expected.generated[condition]
        body |= {"inputs": inputs, "max_new_tokens": NEW_TOKENS, "stream": True}
        with client.stream("POST", "/v1/generate", json=body) as answer:
            if not self._accepted(answer):
                return
            try:
                parts = "".join(answer.iter_text()).strip().split("\n\n")
            except httpx.TransportError as error:
                self._problem("unanswered", f"a stream that ended with {error!r}")
                return
        event, data = parts[-1].split("\n")
        if event != "event: done":
            self._problem("unanswered", f"a stream that ended with {parts[-1][:200]}")
            return
        told = json.loads(data.removeprefix("data: "))["outputs"]
        self._count("answered")
        self._check(body, [one["text"] for one in told], outputs)

    def _leave(self, client: httpx.Client, rng: random.Random) -> None:
        """Leaves within an answer, or without waiting for one."""
        condition, body = self._task(rng)
        body |= {"inputs": self._expected.generated[condition][0]}
        self._count("left")
        if rng.random() < 0.5:
            body |= {"stream": True, "max_new_tokens": 64}
            with client.stream("POST", "/v1/generate", json=body) as answer:
                next(answer.iter_bytes(), None)
            return
        with contextlib.suppress(httpx.TimeoutException):
            client.post("/v1/generate", json=body, timeout=rng.uniform(0.001, 0.05))

    def _malformed(self, client: httpx.Client, rng: random.Random) -> None:
        headers = {"Content-Type": "application/json"}
        answer = client.post(
            "/v1/generate", content=rng.choice(MALFORMED), headers=headers
        )
        self._refused(answer, (400, 422, 503))

    def _oversize(self, client: httpx.Client, rng: random.Random) -> None:
        many, large = ["a"] * 1000, ["a " * (1 << 20)]
        body = {"condition": "a", "inputs": rng.choice([many, large])}
        try:
            self._refused(client.post("/v1/generate", json=body), (413, 422, 503))
        except httpx.TransportError:  # Refused, and closed, while it was being sent.
            self._count("cut off while sending too much")

    def _unknown(self, client: httpx.Client, rng: random.Random) -> None:
        body = {"state": f"{rng.getrandbits(192):048x}", "inputs": ["a"]}
        self._refused(client.post("/v1/generate", json=body), (404, 409, 503))

    def _ask(self, client: httpx.Client, route: str, body: dict) -> dict | None:
        start = time.perf_counter()
        answer = client.post(route, json=body)
        if not self._accepted(answer):
            return None
        with self._lock:
            self.seconds.append(time.perf_counter() - start)
        self._count("answered")
        return answer.json()

    def _accepted(self, answer: httpx.Response) -> bool:
        if answer.status_code in BUSY:
            self._count(f"refused with {answer.status_code}")
            time.sleep(0.2)
            return False
        if answer.status_code != 200:
            answer.read()
            self._problem("unanswered", f"{answer.status_code}: {answer.text[:200]}")
        return answer.status_code == 200

    def _refused(self, answer: httpx.Response, statuses: tuple[int, ...]) -> None:
        self._count(f"refused with {answer.status_code}")
        if answer.status_code not in statuses:
            self._problem("wrong", f"expected {statuses}, got {answer.status_code}")

    def _check(self, body: dict, got: object, expected: object) -> None:
        if got != expected:
            self._problem("wrong", f"{body}: expected {expected}, got {got}"[:400])

    def _problem(self, name: str, text: str) -> None:
        self._count(name)
        with self._lock:
            self.problems.append(text)

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
