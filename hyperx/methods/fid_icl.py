"""FiD-ICL: fusion in the decoder for in-context learning (Ye et al., ACL 2023).

Each example of the condition is read by the backbone's encoder on its own, and so is
the input; the decoder attends to all of them. No weights are generated. Examples are
encoded once for any number of inputs, and their order has no meaning. The whole
backbone is trained.

NOTE: what an example looks like is left to the data; the published code writes
"# Input # ... # Output # ...".
"""

import dataclasses
from typing import ClassVar

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class FidIcl(Method):
    """FiD-ICL.

    Attributes:
        separator: the token that ends an example; None to read the condition as one
            text, which is HINT's instruction fusion alone.
    """

    reads: ClassVar[Reads] = "condition"

    separator: int | None = None

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The encoder of examples, and fusion."""
        encoder = InstructionEncoder(backbone, separator=self.separator)
        return Hypernetwork(encoder, fusion=True)
