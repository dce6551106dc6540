"""A service over loopback with a tiny model: what the tests of serving share."""

import contextlib
import threading
import time

import httpx
from conftest import tiny_hint
from letters_model import predictor

from hyperx.serve import server
from hyperx.serve.service import Service
from hyperx.serve.settings import Settings

SMALL = dict(
    port=0, max_batch=4, max_queue=64, max_inputs=16, max_new_tokens=16, chunk=2,
    beams=(2,), bank_bytes=1 << 26, timeout=60.0,
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Served:
    """A running server, and how to talk to it."""

    def __init__(self, model, **settings):
        settings = Settings(**SMALL | settings)
        self.model = model
        self.service = Service(model, settings)
        self.server = server.Server(self.service, server.bind(settings))
        self.url = self.server.address
        self._thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self, ready=True):
        self._thread.start()
        with httpx.Client() as client:
            for _ in range(3000):
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{self.url}/health").status_code == 200 or not ready:
                        return self
                assert self.service.live
                time.sleep(0.1)
        raise TimeoutError("expected a server that is ready")

    def stop(self):
        self.server.drain()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def client(self, **how):
        return httpx.Client(base_url=self.url, timeout=120, **how)


@contextlib.contextmanager
def serving(model=None, **settings):
    served = Served(model or predictor(tiny_hint()), **settings).start()
    try:
        yield served
    finally:
        served.stop()


def texts(answer):
    assert answer.status_code == 200, answer.text
    return [output["text"] for output in answer.json()["outputs"]]
