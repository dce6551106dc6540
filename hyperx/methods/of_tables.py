"""What methods have in common whose weights are parameters themselves."""

import dataclasses
from typing import ClassVar

import flax.linen as nn

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.tasks import TaskNumber
from hyperx.hypernetworks.generators.stacks import StackGenerators
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.hypernetworks.tables.tables import Stack
from hyperx.methods.method import Method, Reads, check_reads, names_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableMethod(Method):
    """A method that looks weights up: one set for all tasks, or one for each.

    Attributes:
        reads: ``prompt`` or ``inputs``: all tasks share the weights, and the backbone
            reads that; ``task``: every one of `tasks` has weights of its own.
        tasks: names of the tasks, with ``reads = "task"``.
    """

    READS: ClassVar[tuple[Reads, ...]] = ("prompt", "inputs", "task")

    reads: Reads = "prompt"
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", names_of(self.tasks))
        check_reads(self.reads, self.READS, self.tasks)

    @property
    def task_count(self) -> int:
        """How many tasks have weights of their own; 0 if all share them."""
        return len(self.tasks) if self.reads == "task" else 0

    def stack(self, backbone: T5Config, stack: Stack) -> nn.Module | None:
        """What looks up one stack's weights: ``(numbers [G] or None) -> Emission``."""
        raise NotImplementedError

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The tables of both stacks."""
        return Hypernetwork(
            conditioner=TaskNumber() if self.reads == "task" else None,
            generator=StackGenerators(
                self.stack(backbone, "encoder"), self.stack(backbone, "decoder")
            ),
        )
