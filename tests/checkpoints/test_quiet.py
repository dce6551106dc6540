"""What is wrong with a checkpoint, and what only keeps us from reading it."""

import errno

import pytest

from hyperx.checkpoints import quiet


def damaged():
    raise ValueError("unreadable metadata")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad zstd stream"),
        FileNotFoundError(errno.ENOENT, "no such file"),
        KeyError("checksums"),
    ],
)
def test_damage_is_received(error):
    with quiet.failure() as failure:
        raise error
    assert failure == [quiet.cause(error)]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "not yours"),
        OSError(errno.EMFILE, "too many open files"),
        TimeoutError("no answer"),
        ValueError("PERMISSION_DENIED: no access to gs://bucket/object"),
        MemoryError(),
    ],
)
def test_what_cannot_be_reached_is_not_called_damaged(error):
    with pytest.raises(type(error)), quiet.failure():
        raise RuntimeError("Orbax gave up") from error
