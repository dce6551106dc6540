"""A hypernetwork: what reads, what writes, and perhaps instruction fusion."""

import flax.linen as nn
import jax

from hyperx.adaptation import Encoded
from hyperx.backbone.t5 import T5
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning


class Hypernetwork(nn.Module):
    """Reads G conditions and writes the weights of every layer for each of them.

    Attributes:
        conditioner: module ``(tokens [G, I], backbone) -> code``; None where there is
            nothing to read: what is written is then the same for all groups.
        generator: module ``(code) -> Conditioning``, or None. Without a conditioner
            its code is None.
        fusion: whether the decoder also attends to the code, which is then `Encoded`.
        instance: module that reads each row's own encoding and writes for that row
            alone, ``(encoded [G * R, 1, S, D]) -> {"encoder" | "decoder": Emission}``;
            or None. Where it writes for the encoder, the row is encoded once more.
    """

    conditioner: nn.Module | None = None
    generator: nn.Module | None = None
    fusion: bool = False
    instance: nn.Module | None = None

    def __call__(self, tokens: jax.Array | None, backbone: T5) -> Conditioning:
        """Conditions on tokens ``[G, I]``."""
        code = None if self.conditioner is None else self.conditioner(tokens, backbone)
        conditioning = Conditioning()
        if self.generator is not None:
            conditioning = self.generator(code)
        return conditioning.replace(memory=code) if self.fusion else conditioning

    def read_rows(self, encoded: Encoded) -> dict[str, Emission]:
        """Emissions for single rows, by stack; none if instances are not read."""
        return {} if self.instance is None else self.instance(encoded)
