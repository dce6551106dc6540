"""What every method says of itself."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
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

    def start(self, params: Any, new: Collection[str] | None = None) -> Any:
        """The parameters to start from, given initial ones or a checkpoint's.

        For what depends on the backbone's own weights. Called once, inside `jax.jit`.

        Args:
            params: of the model.
            new: paths, joined by ``/``, of those that come from no checkpoint; None
                for all.
        """
        del new
        return params


def names_of(tasks: Iterable[str]) -> tuple[str, ...]:
    """Names of tasks as a tuple, which JSON and gin may give as a list.

    Raises:
        ValueError: if they are one text, whose letters would be names.
    """
    if isinstance(tasks, str):
        raise ValueError(
            f"expected the names of the tasks (TASKS in gin), such as ({tasks!r},), "
            f"got the text {tasks!r}"
        )
    return tuple(tasks)


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
