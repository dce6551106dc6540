"""A process of `hyperx serve`, as the soak watches it."""

import pathlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Self

import httpx
import numpy as np


class Process:
    """A server from start to exit.

    Attributes:
        url: where it listens.
        counts: of its bank, as of the last sample.
    """

    def __init__(
        self, model_dir: pathlib.Path, spill: pathlib.Path, flags: Sequence[str]
    ) -> None:
        command = [sys.executable, "-m", "hyperx", "serve", f"--model_dir={model_dir}"]
        command += ["--port=0", f"--spill={spill}", "--max_batch=8", *flags]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = self._until_ready()
        self.url = re.search(r"listening at (\S+),", said)[1]
        # A full pipe would hold the server up.
        threading.Thread(target=self._echo, daemon=True).start()
        self._kibibytes: list[int] = []
        self.counts = {"generated": 0.0, "loaded": 0.0}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()

    def sample(self) -> None:
        """Notes its resident memory and what its bank has done."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        self._kibibytes.append(int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]))
        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        for own, name in (("generated", "misses"), ("loaded", "loaded")):
            found = re.search(rf"^hyperx_bank_{name}_total (\S+)$", text, re.MULTILINE)
            self.counts[own] = float(found[1])

    def terminate(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def memory(self) -> dict[str, float]:
        """Its resident memory, and growth from the second quarter to the last."""
        quarter = max(len(self._kibibytes) // 4, 1)
        second = np.median(self._kibibytes[quarter : 2 * quarter])
        last = np.median(self._kibibytes[-quarter:])
        growth = round(float(last / second - 1), 4)
        return {"mebibytes": round(float(last) / 1024), "growth": growth}

    def _until_ready(self) -> str:
        said = ""
        while "\nready" not in said:
            line = self._process.stderr.readline()
            if not line:
                raise RuntimeError(f"expected a server that is ready, got:\n{said}")
            said += line
        return said

    def _echo(self) -> None:
        for line in self._process.stderr:
            sys.stderr.write(line)
