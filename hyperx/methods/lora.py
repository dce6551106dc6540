"""LoRA: low-rank updates of projections (Hu et al., ICLR 2022); a frozen backbone."""

import dataclasses

from hyperx.adaptation import PROJECTIONS
from hyperx.config import T5Config
from hyperx.hypernetworks.tables.parts import LowRankTable
from hyperx.hypernetworks.tables.tables import Stack, Table
from hyperx.methods.of_tables import TableMethod


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora(TableMethod):
    """LoRA.

    Attributes:
        rank: of the updates.
        alpha: their factor is ``alpha / rank``.
        projections: which kernels are updated, in every attention or feed-forward
            layer that has them: query, key, value, out; wi (every input kernel), wo.
    """

    rank: int = 8
    alpha: float = 16.0
    projections: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "projections", tuple(self.projections))
        unknown = set(self.projections) - PROJECTIONS.keys()
        if unknown or not self.projections:
            raise ValueError(
                f"expected projections among {tuple(PROJECTIONS)}, got "
                f"{self.projections}"
            )
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")

    def stack(self, backbone: T5Config, stack: Stack) -> Table:
        """The updates of one stack."""
        updates = LowRankTable(
            rank=self.rank, scale=self.alpha / self.rank, projections=self.projections
        )
        return Table(backbone, stack, updates, self.task_count)
