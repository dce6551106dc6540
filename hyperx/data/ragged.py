"""Token sequences end to end, in memory or in a file that has no name."""

import dataclasses
import functools
import mmap
import tempfile
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Token sequences end to end: number i is `tokens[offsets[i] : offsets[i + 1]]`."""

    tokens: np.ndarray  # [total] int32
    offsets: np.ndarray  # [N + 1] int64

    @classmethod
    def join(cls, flats: Sequence[np.ndarray], lengths: Sequence[np.ndarray]):
        """From pieces: flat tokens and the lengths of the sequences within them."""
        return cls.of(np.concatenate([np.zeros(0, np.int32), *flats]), lengths)

    @classmethod
    def of(cls, tokens: np.ndarray, lengths: Sequence[np.ndarray]):
        """From all tokens and, in pieces, the lengths of the sequences."""
        offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @functools.cached_property
    def max_length(self) -> int:
        return int(self.lengths.max(initial=0))

    @property
    def lengths(self) -> np.ndarray:
        """Of all sequences, [N], computed here."""
        return np.diff(self.offsets)

    def lengths_of(self, indices: np.ndarray) -> np.ndarray:
        """Of the sequences at `indices`, in their shape."""
        return self.offsets[indices + 1] - self.offsets[indices]

    def pad(self, indices: np.ndarray, length: int) -> np.ndarray:
        """The sequences at `indices` [...], padded with 0: [..., length] int32."""
        padded = np.zeros((indices.size, length), np.int32)
        starts = self.offsets[indices.ravel()].tolist()
        stops = self.offsets[indices.ravel() + 1].tolist()
        for row, start, stop in zip(padded, starts, stops, strict=True):
            row[: stop - start] = self.tokens[start:stop]
        return padded.reshape(*indices.shape, length)


class Spool:
    """Tokens on their way to a file: appended piece by piece, read back as an array.

    The file is in the folder for temporary files (TMPDIR) and has no name, so that it
    goes with the process, however that ends. The operating system keeps of it in memory
    what there is room for.
    """

    def __init__(self) -> None:
        self._folder = tempfile.gettempdir()
        self._size = 0
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115

    def append(self, tokens: np.ndarray) -> None:
        """Writes [N] int32.

        Raises:
          OSError: the disk is full, or does not take it.
        """
        content = np.ascontiguousarray(tokens, np.int32)
        self._write(content.data)
        self._size += content.nbytes

    def finish(self) -> np.ndarray:
        """All tokens, read-only; the spool is at its end.

        Raises:
          OSError: as `append`.
        """
        self._write(None)
        with self._file:
            if not self._size:  # Nothing cannot be mapped.
                return np.zeros(0, np.int32)
            view = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        # Rows are read in any order: do not read what follows them from the disk.
        view.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(view, np.int32)

    def _write(self, content: memoryview | None) -> None:
        """Writes what is given, or all that waits to be written."""
        try:
            if content is None:
                self._file.flush()
            else:
                self._file.write(content)
        except OSError as error:
            raise OSError(
                f"expected room for the tokens of the data in {self._folder}, got: "
                f"{error.strerror} after {self._size / 2**20:,.0f} MiB; set TMPDIR to "
                "a folder with more"
            ) from error


def truncate(
    tokens: np.ndarray, lengths: np.ndarray, limit: int, eos: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts flat sequences to `limit` tokens; those that ended in `eos` still do.

    Args:
      tokens: [total] the sequences end to end.
      lengths: [N] their lengths.
      limit: the greatest length to keep.
      eos: the EOS id, or None to just cut.

    Returns:
      (tokens, lengths) of the cut sequences.
    """
    long = lengths > limit
    if not long.any():
        return tokens, lengths
    ends = np.cumsum(lengths)
    position = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
    kept, kept_lengths = tokens[position < limit], np.minimum(lengths, limit)
    if eos is not None:
        ended = long & (tokens[ends - 1] == eos)
        kept[np.cumsum(kept_lengths)[ended] - 1] = eos
    return kept, kept_lengths
