"""Few-shot episodes: rows of one task to answer, and others to show beside them.

HyperTuning (Phang et al. 2022) and MetaICL (Min et al. 2022) train on such episodes: K
support examples are drawn anew, without replacement, and never hold a query. Pure
NumPy.
"""

from collections.abc import Iterator

import numpy as np


def episodes(
    count: int, *, shots: int, queries: int, seed: int, passes: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (query indices, support indices) of the rows of one task.

    In every pass the rows are permuted and cut into chunks of `queries`, the last one
    maybe shorter: so each row is a query once a pass. The support of a chunk is drawn
    uniformly without replacement from all rows outside it. Both depend on seed, pass
    and chunk alone.

    Args:
      count: rows of the task.
      shots: support rows of a chunk; fewer, maybe none, where the task has no more.
      queries: rows that share a support.
      seed: of the permutations and draws.
      passes: how often each row is a query.

    Yields:
      Two int64 arrays, [at most queries] and [at most shots].

    Raises:
      ValueError: `count`, `queries` or `passes` below 1, `shots` or `seed` below 0.
    """
    for name, value, least in (
        ("count", count, 1),
        ("shots", shots, 0),
        ("queries", queries, 1),
        ("seed", seed, 0),
        ("passes", passes, 1),
    ):
        if value < least:
            raise ValueError(f"expected {name} of at least {least}, got {value}")
    return _episodes(count, shots, queries, seed, passes)


def _episodes(
    count: int, shots: int, queries: int, seed: int, passes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for turn in range(passes):
        order = np.random.default_rng((seed, turn, 0)).permutation(count)
        for number, start in enumerate(range(0, count, queries), start=1):
            stop = min(start + queries, count)
            rng = np.random.default_rng((seed, turn, number))
            others = count - (stop - start)
            places = rng.choice(others, min(shots, others), replace=False)
            # Counted without the chunk: those behind it stand further back.
            places = np.where(places < start, places, places + (stop - start))
            yield order[start:stop], order[places]
