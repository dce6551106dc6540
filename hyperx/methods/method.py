"""What every method says of itself."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from hyperx.config import T5Config
from hyperx.hypernetworks.hypernetwork import Hypernetwork

Reads = Literal["condition", "task", "prompt", "inputs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A point in the space of conditioners and generators.

    Attributes:
        reads: ``condition``: the hypernetwork reads the condition, the backbone the
            inputs; ``task``: the same, but what the hypernetwork reads is the number
            of the row's task among `tasks`; ``prompt``: the backbone reads condition
            and inputs in one text; ``inputs``: the condition is not read at all.
        tasks: names of the tasks that a method with ``reads = "task"`` knows.
        copies: where the hypernetwork starts as a copy of the backbone: a prefix of
            parameter paths to the prefix of those whose values it takes from an
            initial checkpoint.
    """

    reads: ClassVar[Reads]
    tasks: ClassVar[tuple[str, ...]] = ()
    copies: ClassVar[Mapping[str, str]] = {}

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork | None:
        """The hypernetwork for a backbone; None for a plain one."""
        raise NotImplementedError

    def start(self, params: Any) -> Any:
        """The parameters to start from, given initial ones or a checkpoint's.

        For what depends on the backbone's own weights. Called once, inside `jax.jit`.
        """
        return params


def check_reads(reads: Reads, allowed: tuple[Reads, ...], tasks: tuple[str, ...]):
    """Checks what a method was told to read, and the names of its tasks.

    Raises:
        ValueError: if it cannot read that, or names are missing or occur twice.
    """
    if reads not in allowed:
        raise ValueError(f"expected reads to be one of {allowed}, got {reads!r}")
    if reads == "task" and (not tasks or len(set(tasks)) < len(tasks)):
        raise ValueError(
            "expected the names of the tasks (TASKS in gin), all different, got "
            f"{tasks or 'none'}"
        )
