"""Which rows make a batch, in what order: a pure function of seed and position.

Rows with equal condition form a pool. In every epoch each pool is permuted and cut
into chunks of R rows, the last one filled up by wrapping round; G consecutive chunks
of the shuffled epoch make a batch.

In a mixture every task has its own endless stream of such epochs, and a *virtual*
epoch takes from each stream a share of chunks in proportion to the task's rate: a whole
number, now one more and now one less, so that the rate is met over epochs however small
it is. With a single task the virtual epoch is the epoch.
"""

import functools

import numpy as np

from hyperx.data.examples import Examples


class Chunks:
    """The endless sequence of chunks; each is the numbers of R rows of one pool.

    Args:
      examples: the rows.
      rows: R.
      seed: of all order.
      by_condition: whether pools are conditions, or else whole tasks.
    """

    def __init__(self, examples: Examples, rows: int, seed: int, by_condition: bool):
        pools = examples.condition_of_row if by_condition else examples.task_of_row
        sizes = np.bincount(examples.task_of_row, minlength=len(examples.tasks))
        by_task = np.argsort(examples.task_of_row, kind="stable").astype(np.int32)
        self._streams = [
            _TaskChunks(row_numbers, pools, rows, (seed, task))
            for task, row_numbers in enumerate(np.split(by_task, np.cumsum(sizes)[:-1]))
        ]
        self._key = (seed, len(examples.tasks))
        self.per_epoch = sum(stream.per_epoch for stream in self._streams)
        # Chunks of each task in a virtual epoch, on average, and how much of one is
        # ahead at the start: small tasks should not all have their turn at once.
        self._shares = self.per_epoch * examples.rates
        self._ahead = _random(*self._key).random(len(self._shares))
        # A batch may begin in one epoch and end in the next.
        self._first = functools.lru_cache(maxsize=4)(self._count_before)
        self._epoch = functools.lru_cache(maxsize=2)(self._arrange)

    def __getitem__(self, index: int) -> np.ndarray:
        epoch = index // self.per_epoch  # or the one before or after
        while self._first(epoch) > index:
            epoch -= 1
        while self._first(epoch + 1) <= index:
            epoch += 1
        return self._epoch(epoch)[index - self._first(epoch)]

    def _count_before(self, epoch: int) -> int:
        """Chunks in all epochs before this one."""
        return int(self._taken(epoch).sum())

    def _taken(self, epoch: int) -> np.ndarray:
        """Chunks of each task in all epochs before this one."""
        return np.floor(self._shares * epoch + self._ahead).astype(np.int64)

    def _arrange(self, epoch: int) -> np.ndarray:
        """All chunks of a virtual epoch in order: [chunks, R] row numbers."""
        starts, stops = self._taken(epoch).tolist(), self._taken(epoch + 1).tolist()
        chunks = [
            stream.take(start, stop - start)
            for stream, start, stop in zip(self._streams, starts, stops, strict=True)
            if stop > start
        ]
        return _random(*self._key, epoch).permutation(np.concatenate(chunks))


class _TaskChunks:
    """The endless sequence of chunks of one task, one shuffled epoch after another."""

    def __init__(
        self,
        row_numbers: np.ndarray,
        pools: np.ndarray,
        rows: int,
        key: tuple[int, ...],
    ):
        self._row_numbers = row_numbers
        self._key = key
        _, pool_of_row, sizes = np.unique(
            pools[row_numbers], return_inverse=True, return_counts=True
        )
        chunks = -(-sizes // rows)
        pool = np.repeat(np.arange(len(sizes)), chunks)  # of each chunk
        number = np.arange(chunks.sum()) - (np.cumsum(chunks) - chunks)[pool]
        within = (number[:, None] * rows + np.arange(rows)) % sizes[pool, None]
        # [chunks, R] places in a list of the rows that is sorted by pool.
        places = within + (np.cumsum(sizes) - sizes)[pool, None]
        self._places = places.astype(np.int32)
        self._pools = pool_of_row.astype(np.int32)
        self.per_epoch = len(self._places)

    def take(self, start: int, count: int) -> np.ndarray:
        """Chunks `start` to `start + count - 1`: [count, R] row numbers."""
        first, last = start // self.per_epoch, (start + count - 1) // self.per_epoch
        chunks = np.concatenate([self._epoch(e) for e in range(first, last + 1)])
        return chunks[start - first * self.per_epoch :][:count]

    def _epoch(self, epoch: int) -> np.ndarray:
        random = _random(*self._key, epoch)
        shuffled = random.permutation(len(self._row_numbers))
        by_pool = shuffled[np.argsort(self._pools[shuffled], kind="stable")]
        return random.permutation(self._row_numbers[by_pool][self._places])


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
