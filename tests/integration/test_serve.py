"""`hyperx serve` as a process: a trained model, requests, SIGTERM, a restart."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from concurrent import futures

import httpx
import jax
import pytest
from tiny_runs import one_device, run  # noqa: F401 - fixtures

import hyperx

COMMAND = [sys.executable, "-m", "hyperx", "serve"]
TOKEN = "a-secret-token"
FLAGS = ["--port=0", "--max_batch=1", "--beams=", "--max_new_tokens=8"]
BODY = {"condition": "replace a with b", "inputs": ["x a b"], "max_new_tokens": 6}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(folder, TRAIN_STEPS=1)
    return folder


@contextlib.contextmanager
def serving(model_dir, *more):
    """A process, a client of it, and a way to read what it says."""
    environment = os.environ | {
        "HYPERX_TOKEN": TOKEN,
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(
        [*COMMAND, f"--model_dir={model_dir}", *FLAGS, *more],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        while "\nready" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        url = re.search(r"listening at (\S+),", said)[1]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            yield process, client, said
    finally:
        process.kill()
        process.wait()


def test_a_trained_model_is_served_until_sigterm(trained, tmp_path):
    spill = f"--spill={tmp_path}"
    with serving(trained, spill) as (process, client, said):
        answer = client.post("/v1/generate", json=BODY).json()
        model = hyperx.load(trained)
        expected = model.generate(
            BODY["inputs"], model.adapt(BODY["condition"]), max_new_tokens=6
        )
        assert [output["text"] for output in answer["outputs"]] == expected
        assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
        with futures.ThreadPoolExecutor(8) as pool:
            accepted = [
                pool.submit(client.post, "/v1/generate", json=BODY) for _ in range(8)
            ]
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            for one in accepted:
                status = None
                with contextlib.suppress(httpx.ConnectError):
                    status = one.result().status_code
                assert status in (200, 503, None)
        assert process.wait(60) == 0
        said += process.stderr.read()
    assert "draining" in said
    assert TOKEN not in said
    assert "Traceback" not in said

    body = {"state": answer["state"], "inputs": BODY["inputs"], "max_new_tokens": 6}
    with serving(trained, spill) as (_, client, _):
        assert client.post("/v1/generate", json=body).json() == answer
