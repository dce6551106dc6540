"""`hyperx serve`: what its flags become."""

import argparse
import socket

import pytest

from hyperx.cli import serving
from hyperx.data import startup
from hyperx.runs import models
from hyperx.serve import server, settings


@pytest.fixture
def command(monkeypatch):
    """Runs the command; returns what would have been loaded and served."""
    seen = []
    monkeypatch.setattr(startup, "prepare_tensorflow", lambda: None)
    monkeypatch.setattr(models, "load", lambda **given: given)
    monkeypatch.setattr(server, "serve", lambda *given: seen.append(given) or 0)
    monkeypatch.delenv("HYPERX_TOKEN", raising=False)

    def run(*flags):
        parser = argparse.ArgumentParser()
        serving.add_serve(parser.add_subparsers())
        args = parser.parse_args(["serve", "--model_dir=out", *flags])
        assert args.run(args) == 0
        return seen.pop()

    return run


def test_flags_become_settings(command, tmp_path, monkeypatch):
    assert command() == (
        {"model_dir": "out", "step": None, "vocabulary": None},
        settings.Settings(),
    )
    (tmp_path / "token").write_text("t\n")
    flags = ["--step=3", "--host=0.0.0.0", "--port=0", f"--token_file={tmp_path}/token"]
    flags += ["--beams=2,4", "--input_lengths=32,64", "--timeout=2.5", "--max_batch=8"]
    loaded, served = command(*flags, "--spill=states", "--bank_bytes=9")
    assert loaded["step"] == 3
    assert served == settings.Settings(
        host="0.0.0.0", port=0, token="t", beams=(2, 4), input_lengths=(32, 64),
        timeout=2.5, max_batch=8, spill="states", bank_bytes=9,
    )  # fmt: skip
    assert command("--beams=")[1].beams == ()
    assert command("--host=::", "--allow_public")[1].token is None
    monkeypatch.setenv("HYPERX_TOKEN", "from-environment")
    assert command()[1].token == "from-environment"


def test_misuse_is_explained_before_anything_is_loaded(command, monkeypatch):
    monkeypatch.setattr(models, "load", lambda **given: pytest.fail("loaded"))
    with pytest.raises(ValueError, match="expected a token for 0.0.0.0"):
        command("--host=0.0.0.0")
    monkeypatch.setenv("HYPERX_TOKEN", "two words")
    with pytest.raises(ValueError, match="expected a token of printable ASCII"):
        command()
    with pytest.raises(SystemExit):
        command("--beams=none")


def test_an_address_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            server.bind(settings.Settings(port=port))
