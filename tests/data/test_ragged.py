"""Token sequences end to end, cutting them, and the file they wait in."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hyperx.data import ragged


def test_truncate_by_hand():
    tokens = np.array([5, 6, 7, 1, 8, 1, 9, 9, 9], np.int32)
    kept, lengths = ragged.truncate(tokens, np.array([4, 2, 3]), 2, eos=1)
    assert lengths.tolist() == [2, 2, 2]
    # The third did not end in EOS, so it does not get one.
    assert kept.tolist() == [5, 1, 8, 1, 9, 9]
    assert tokens.tolist() == [5, 6, 7, 1, 8, 1, 9, 9, 9]
    kept, _ = ragged.truncate(tokens, np.array([4, 2, 3]), 2, eos=None)
    assert kept.tolist() == [5, 6, 8, 1, 9, 9]


def test_ragged_pads():
    joined = ragged.Ragged.join(
        [np.array([1, 2, 3], np.int32), np.array([4], np.int32)],
        [np.array([2, 0, 1]), np.array([1])],
    )
    assert len(joined) == 4
    assert joined.max_length == 2
    assert joined.pad(np.array([[0, 1], [3, 2]]), 3).tolist() == [
        [[1, 2, 0], [0, 0, 0]],
        [[4, 0, 0], [3, 0, 0]],
    ]
    with pytest.raises(IndexError, match="below 4, got 4"):
        joined[4]


def test_a_spool_gives_back_what_it_took():
    spool = ragged.Spool()
    pieces = [np.arange(5), np.zeros(0, np.int64), np.arange(7, 9)]
    for piece in pieces:
        spool.append(piece)
    tokens = spool.finish()
    assert tokens.tolist() == [0, 1, 2, 3, 4, 7, 8]
    assert tokens.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1
    assert ragged.Spool().finish().tolist() == []


def test_a_full_disk_is_told(monkeypatch):
    def full(dir):
        return open("/dev/full", "r+b")

    monkeypatch.setattr(ragged.tempfile, "TemporaryFile", full)
    spool = ragged.Spool()
    with pytest.raises(OSError, match=r"room .*No space left on device.* set TMPDIR"):
        spool.append(np.zeros(100_000, np.int32))
        spool.finish()


SPOOLING = """
import time
import numpy as np
from hyperx.data import ragged
spool = ragged.Spool()
spool.append(np.arange(1_000_000))
tokens = spool.finish()
print(tokens[-1], flush=True)
time.sleep(60)
"""


def test_nothing_is_left_of_a_killed_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SPOOLING],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "999999\n"
        assert list(tmp_path.iterdir()) == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert list(tmp_path.iterdir()) == []
