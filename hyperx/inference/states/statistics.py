"""Statistics: what a bank has done."""

import dataclasses


@dataclasses.dataclass(kw_only=True)
class Statistics:
    """What a bank has done, and what it holds.

    Attributes:
        hits: states that were in memory when asked for.
        loaded: states that were read from disk.
        misses: states that were generated.
        evicted: states that left memory for others.
        spilled: states that were written to disk.
        failed: states that could not be written to disk, or were damaged there.
        states: in memory now.
        bytes: of them.
        spilled_states: on disk now.
        spilled_bytes: of them.
    """

    hits: int = 0
    loaded: int = 0
    misses: int = 0
    evicted: int = 0
    spilled: int = 0
    failed: int = 0
    states: int = 0
    bytes: int = 0
    spilled_states: int = 0
    spilled_bytes: int = 0
