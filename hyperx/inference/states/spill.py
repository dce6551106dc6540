"""Spill: task states in a folder, one file each, within a budget of bytes."""

import contextlib
import hashlib
import itertools
import logging
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable

from hyperx.inference.states.lru import Lru
from hyperx.task_state import TaskState, load_state

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<id>[0-9a-f]+)-(?P<digest>[0-9a-f]{16})\.safetensors")
_WRITING = ".writing"
# The second one is of the file that becomes the first one.
_PARTS = (_WRITING, f"{_WRITING}.partial")
# Seconds after which a file that is being written counts as left by a dead process.
_ABANDONED = 3600


class Spill:
    """Task states of one model on disk.

    A file is named by its state's id and by a digest of its bytes, and gets that name
    when it is complete: what is read is what was written, or it is refused. Files that
    were used longest ago are deleted for new ones; the time of use is the modification
    time, so that a later process goes on with the same order. Safe for threads.

    What goes wrong on disk is logged, and costs the copy there only.

    Attributes:
        folder: where; made if it is not there. Files of other models are left alone,
            and not counted.
        written: states written so far.
        failed: states that could not be written, or were damaged when read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        fingerprint: str,
        budget: int | None = None,
    ) -> None:
        """Opens a folder.

        Args:
            folder: where.
            fingerprint: of the model.
            budget: most bytes of all files; None for no limit.

        Raises:
            ValueError: if `folder` is an address: files are kept on disks only.
        """
        if "://" in os.fspath(folder):
            raise ValueError(f"expected a folder on a disk, got {folder}")
        self.folder = pathlib.Path(folder)
        self.written = self.failed = 0
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._files: Lru[pathlib.Path] = Lru(budget)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._find()

    def __contains__(self, state_id: str) -> bool:
        with self._lock:
            return state_id in self._files

    def __len__(self) -> int:
        return len(self._files)

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return self._files.nbytes

    def size(self, state_id: str) -> int | None:
        """Bytes of a state's file; None without one."""
        with self._lock:
            return self._files.size(state_id)

    def write(
        self,
        state_id: str,
        state: TaskState,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Writes a state, and deletes what has no place beside it.

        Args:
            state_id: of the state.
            state: to write.
            wanted: whether it is still to be kept once its bytes are written. If that
                changes before `delete` is called, nothing of it stays.
        """
        partial = self.folder / f"{os.getpid()}-{next(self._numbers)}{_WRITING}"
        try:
            state.save(partial)
            path = self.folder / f"{state_id}-{_digest(partial)}.safetensors"
            with self._lock:
                if wanted():
                    self._take_in(state_id, partial, path)
        except (OSError, ValueError) as error:
            self._report(f"state {state_id} is not written to {self.folder}: {error}")
        finally:
            _unlink(partial)

    def read(self, state_id: str) -> TaskState | None:
        """The state of that id; None if there is none.

        One whose file is damaged, or was made by another model, is deleted.
        """
        with self._lock:
            path = self._files.get(state_id)
        if path is None:
            return None
        try:
            state = self._verified(path)
        except (OSError, ValueError, KeyError) as error:
            self._report(f"expected an intact state in {path}, got: {error}")
            self.delete(state_id)
            return None
        with contextlib.suppress(OSError):  # Others' files are read, but not touched.
            os.utime(path)
        return state

    def delete(self, state_id: str) -> bool:
        """Deletes a state's file; whether there was one."""
        with self._lock:
            path = self._files.pop(state_id)
            if path is not None:
                _unlink(path)
            return path is not None

    def _take_in(
        self, state_id: str, partial: pathlib.Path, path: pathlib.Path
    ) -> None:
        """Gives a complete file its name, and a place among the others."""
        for old in self._files.put(state_id, path, partial.stat().st_size):
            _unlink(old)
        try:
            partial.replace(path)
        except OSError:
            self._files.pop(state_id)
            raise
        self.written += 1

    def _verified(self, path: pathlib.Path) -> TaskState:
        written, found = _NAME.fullmatch(path.name)["digest"], _digest(path)
        if found != written:
            raise ValueError(f"expected bytes of digest {written}, got {found}")
        state = load_state(path)
        if state.fingerprint != self._fingerprint:
            raise ValueError(
                f"expected a state of model {self._fingerprint}, got one of model "
                f"{state.fingerprint}"
            )
        return state

    def _find(self) -> None:
        """Takes in what is there, in the order of use; clears what was abandoned."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # Another process deletes too.
                stat, name = path.stat(), _NAME.fullmatch(path.name)
                if name is not None and name["id"].startswith(self._fingerprint):
                    found.append((stat.st_mtime_ns, name["id"], path, stat.st_size))
                elif path.name.endswith(_PARTS) and _abandoned(stat):
                    _unlink(path)
        for _, state_id, path, nbytes in sorted(found):
            try:
                old = self._files.put(state_id, path, nbytes)
            except ValueError:
                old = [path]
            for unwanted in old:
                _unlink(unwanted)

    def _report(self, what: str) -> None:
        logger.warning("%s", what)
        with self._lock:
            self.failed += 1


def _unlink(path: pathlib.Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s is not deleted: %s", path, error)


def _abandoned(stat: os.stat_result) -> bool:
    return time.time() - stat.st_mtime > _ABANDONED


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
