"""Text-to-LoRA: low-rank updates from a description (Charakorn et al., ICML 2025).

One vector of the description, with an embedding of the layer and one of the projection,
goes through a small network whose heads write both factors of a low-rank update of the
query and value projections of every attention. The backbone is frozen.

NOTE: the paper embeds descriptions by a frozen model of its own. Here the backbone's
encoder does, and its tokens are averaged.
"""

import dataclasses
from typing import ClassVar, get_args

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder, TextEmbedding
from hyperx.hypernetworks.generators.text_trunk import TextGeneratorConfig, Variant
from hyperx.hypernetworks.generators.texts import UpdateGenerator
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextToLora(Method):
    """Text-to-LoRA.

    Attributes:
        rank: of the generated updates.
        alpha: their factor is ``alpha / sqrt(rank)``, as in rank-stabilised LoRA.
        variant: size of the heads, see `hyperx.hypernetworks.generators.texts`.
        code_width: of the network in front of the heads.
        head_width: of what the heads read.
        frozen_embedding: whether no gradient reaches the encoder through the
            description; matters only where the backbone is trained.
    """

    reads: ClassVar[Reads] = "condition"

    rank: int = 8
    alpha: float = 16.0
    variant: Variant = "L"
    code_width: int = 128
    head_width: int = 512
    frozen_embedding: bool = True

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise ValueError(
                f"expected variant to be one of {get_args(Variant)}, "
                f"got {self.variant!r}"
            )
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The text embedding and the generator of both factors."""
        generator = TextGeneratorConfig(
            backbone=backbone,
            rank=self.rank,
            alpha=self.alpha,
            variant=self.variant,
            code_width=self.code_width,
            head_width=self.head_width,
        )
        text = TextEmbedding(InstructionEncoder(backbone), self.frozen_embedding)
        return Hypernetwork(text, UpdateGenerator(generator))
