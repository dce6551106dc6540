"""HINT: hypernetwork instruction tuning (Ivison et al., ACL 2023).

The instruction is read once by the backbone's own encoder. Learned queries attend to it
and shared heads write, for every layer, an adapter parallel to the feed-forward layer
and key/value prefixes for all attentions. The decoder also attends to the encoded
instruction itself (instruction fusion). Everything is trained, backbone included.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder
from hyperx.hypernetworks.generators.queries import QueryGenerator, QueryGeneratorConfig
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quirks:
    """Behaviour of the published code that hyperx mends; for reproduction only.

    Attributes:
        see_padding: the instruction's tokens attend to padding.
        reshaped_down: down-projections are reshaped where a transpose was meant.
        generator_dropout: dropout in the heads whatever the model's rate (0.1 there),
            with one mask for all vectors of a kind.
        unused_cross_adapters: adapters for cross-attentions are generated and dropped.
        symmetric_start: small initial queries and neither residual nor normalisation
            around their attention, so that all queries find the same at first.
    """

    see_padding: bool = False
    reshaped_down: bool = False
    generator_dropout: float = 0.0
    unused_cross_adapters: bool = False
    symmetric_start: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hint(Method):
    """HINT and its ablations.

    Attributes:
        bottleneck: of the generated adapters; 0 for none.
        prefix_length: of the generated prefixes; 0 for none.
        fusion: whether the decoder attends to the encoded instruction.
        tied_encoder: whether the instruction is read by the backbone's own encoder; if
            not, by one that starts as a copy of it.
        head_width: hidden width of the generator's heads; the model width if None.
        quirks: faults of the published code to reproduce.
    """

    reads: ClassVar[Reads] = "condition"

    bottleneck: int = 64
    prefix_length: int = 30
    fusion: bool = True
    tied_encoder: bool = True
    head_width: int | None = None
    quirks: Quirks = Quirks()

    def __post_init__(self) -> None:
        if isinstance(self.quirks, dict):  # as read from JSON
            object.__setattr__(self, "quirks", Quirks(**self.quirks))
        if not (self.bottleneck or self.prefix_length or self.fusion):
            raise ValueError(
                "expected at least one of adapters, prefixes and fusion, got "
                "bottleneck=0, prefix_length=0, fusion=False"
            )

    @property
    def copies(self) -> Mapping[str, str]:
        """An encoder of its own starts as the backbone's."""
        own = {"hypernetwork/conditioner/encoder/": "encoder/"}
        return {} if self.tied_encoder else own

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The hyperencoder, the query generator and fusion."""
        quirks = self.quirks
        generator = None
        if self.bottleneck or self.prefix_length:
            start = dict(query_stddev=None, residual=False)
            generator = QueryGenerator(
                QueryGeneratorConfig(
                    backbone=backbone,
                    bottleneck=self.bottleneck,
                    prefix_length=self.prefix_length,
                    head_width=self.head_width,
                    dropout_rate=quirks.generator_dropout,
                    reshaped_down=quirks.reshaped_down,
                    unused_cross_adapters=quirks.unused_cross_adapters,
                    **(start if quirks.symmetric_start else {}),
                )
            )
        conditioner = InstructionEncoder(
            backbone, tied=self.tied_encoder, see_padding=quirks.see_padding
        )
        return Hypernetwork(conditioner, generator, self.fusion)
