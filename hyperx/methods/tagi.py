"""TAGI: task adapters generated from instructions (Liao et al., NeurIPS 2024).

The instruction is read by the backbone's encoder. A hypernetwork writes a low-rank
update of the query and value projections of every attention, and the decoder also
attends to the encoded instruction. At first the updates are nothing.

The paper trains it by distillation as well: towards the outputs of a teacher that reads
the instruction with every input, and towards updates trained for single tasks. Those
are objectives, no part of what is composed here.

NOTE: its published code writes all updates of a kind by one small network, from the
mean of the instruction's encoding and the number of the layer. Here learned queries
attend to the instruction, as in HINT, of which this is otherwise the low-rank variant.
"""

import dataclasses
from typing import ClassVar

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder
from hyperx.hypernetworks.generators.queries import QueryGenerator, QueryGeneratorConfig
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tagi(Method):
    """TAGI.

    Attributes:
        rank: of the generated updates.
        fusion: whether the decoder attends to the encoded instruction.
        head_width: hidden width of the generator's heads; the model width if None.
    """

    reads: ClassVar[Reads] = "condition"

    rank: int = 32
    fusion: bool = True
    head_width: int | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The hyperencoder, the query generator and fusion."""
        generator = QueryGeneratorConfig(
            backbone=backbone,
            bottleneck=0,
            prefix_length=0,
            rank=self.rank,
            head_width=self.head_width,
        )
        encoder = InstructionEncoder(backbone)
        return Hypernetwork(encoder, QueryGenerator(generator), self.fusion)
