"""Prefix tuning (Li and Liang, ACL 2021): keys and values in front of every attention.

They are trained through a network over embeddings of their positions, which is no
longer needed once a task state is made; or as they are. The backbone is frozen.
"""

import dataclasses

import flax.linen as nn

from hyperx.config import T5Config
from hyperx.hypernetworks.tables.parts import PrefixTable
from hyperx.hypernetworks.tables.prefix_network import PrefixNetwork
from hyperx.hypernetworks.tables.tables import Stack, Table
from hyperx.methods.of_tables import TableMethod


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixTuning(TableMethod):
    """Prefix tuning.

    Attributes:
        length: of the prefixes.
        hidden: width of the network that they are trained through; None for none.
    """

    length: int = 10
    hidden: int | None = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"expected a length of at least 1, got {self.length}")
        if self.hidden is not None and self.hidden < 1:
            raise ValueError(
                f"expected a hidden width of at least 1, or None, got {self.hidden}"
            )

    def stack(self, backbone: T5Config, stack: Stack) -> nn.Module:
        """The prefixes of one stack."""
        if self.hidden is None:
            part = PrefixTable(length=self.length)
            return Table(backbone, stack, part, self.task_count)
        return PrefixNetwork(backbone, stack, self.length, self.hidden, self.task_count)
