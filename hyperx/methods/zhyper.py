"""Zhyper: factorized hypernetworks (Abdalla et al. 2025, arXiv 2510.19733).

Every projection of every layer learns one low-rank update that all tasks share, and a
hypernetwork, built like that of Text-to-LoRA, writes nothing but a weight for each of
its units: ``a^T diag(z) b``. The backbone is frozen.

What depends on the task is thus `rank` numbers for each projection. A `TaskState` holds
the update that they make, ``a`` and ``diag(z) b``, for it must serve without the model
that made it: it is as large as that of Text-to-LoRA.

NOTE: of the paper's variants this is the diagonal one; the other writes a square
matrix. There z starts near 0 and alike for all tasks; here it starts around 1.
"""

import dataclasses
from typing import ClassVar

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder, TextEmbedding
from hyperx.hypernetworks.generators.text_trunk import TextGeneratorConfig
from hyperx.hypernetworks.generators.texts import ModulationGenerator
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zhyper(Method):
    """Zhyper with diagonal modulation.

    Attributes:
        rank: of the shared updates.
        alpha: their factor is ``alpha / sqrt(rank)``, as in rank-stabilised LoRA.
        code_width: of the network in front of the heads.
        head_width: of what the heads read.
        frozen_embedding: whether no gradient reaches the encoder through the
            description; matters only where the backbone is trained.
    """

    reads: ClassVar[Reads] = "condition"

    rank: int = 8
    alpha: float = 16.0
    code_width: int = 128
    head_width: int = 512
    frozen_embedding: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The text embedding and the generator of modulations."""
        generator = TextGeneratorConfig(
            backbone=backbone,
            rank=self.rank,
            alpha=self.alpha,
            code_width=self.code_width,
            head_width=self.head_width,
        )
        text = TextEmbedding(InstructionEncoder(backbone), self.frozen_embedding)
        return Hypernetwork(text, ModulationGenerator(generator))
