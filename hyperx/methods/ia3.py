"""IA3: factors of activations (Liu et al., NeurIPS 2022); the backbone is frozen.

Keys and values of every attention and the hidden units of every feed-forward layer are
multiplied by learned vectors, which start at one.
"""

import dataclasses

from hyperx.config import T5Config
from hyperx.hypernetworks.tables.parts import ScaleTable
from hyperx.hypernetworks.tables.tables import Stack, Table
from hyperx.methods.of_tables import TableMethod


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ia3(TableMethod):
    """IA3."""

    def stack(self, backbone: T5Config, stack: Stack) -> Table:
        """The factors of one stack."""
        return Table(backbone, stack, ScaleTable(), self.task_count)
