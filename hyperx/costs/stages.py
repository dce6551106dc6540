"""What serving a task consists of: how it is used, stages, and their sums."""

import dataclasses
import math

from hyperx.costs.analytic import Work

# Bytes of a trained number: parameters are float32, whatever is computed in.
PARAMETER = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """How a task is served.

    Attributes:
        condition: tokens of the condition (I).
        inputs: tokens of an input (S).
        targets: tokens that are decoded (T).
        rows: inputs that are computed together (R): they share every read of weights.
        beams: of decoding.
    """

    condition: int
    inputs: int
    targets: int
    rows: int = 1
    beams: int = 1

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"expected at least 1 for {name}, got {value}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One thing that is computed.

    Attributes:
        work: its operations.
        moved: bytes of weights, generated weights, keys and values that it reads, and
            of those that it writes; activations between layers are not counted.
    """

    work: Work
    moved: float = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alternative:
    """A way to serve a task.

    Attributes:
        once: stages that a task costs, by name.
        each: stages that every example costs.
        parameters: bytes of trained weights.
        task: bytes kept per task.
        row: bytes held per input while it is decoded.
    """

    once: dict[str, Stage]
    each: dict[str, Stage]
    parameters: float
    task: float
    row: float

    @property
    def flops_once(self) -> float:
        """Operations per task."""
        return _flops(self.once)

    @property
    def flops_each(self) -> float:
        """Operations per example."""
        return _flops(self.each)

    def flops(self, examples: int) -> float:
        """Operations for a task with so many examples."""
        return self.flops_once + examples * self.flops_each

    def moved(self, examples: int) -> float:
        """Bytes moved for a task with so many examples."""
        return _moved(self.once) + examples * _moved(self.each)

    def memory(self, tasks: int, rows: int) -> float:
        """Bytes held at once: weights, states of tasks, and rows that are decoded."""
        return self.parameters + tasks * self.task + rows * self.row

    def break_even(self, other: "Alternative") -> int | None:
        """From how many examples on this costs no more than `other`; None if never."""
        extra = self.flops_once - other.flops_once
        saved = other.flops_each - self.flops_each
        if extra <= 0 and saved >= 0:
            return 1
        return max(math.ceil(extra / saved), 1) if saved > 0 else None


def _flops(stages: dict[str, Stage]) -> float:
    return sum(stage.work.flops for stage in stages.values())


def _moved(stages: dict[str, Stage]) -> float:
    return sum(stage.moved for stage in stages.values())
