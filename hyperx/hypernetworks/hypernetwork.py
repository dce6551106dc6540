"""A hypernetwork: one conditioner, one generator, and perhaps instruction fusion."""

import flax.linen as nn
import jax
from flax import struct

from hyperx.adaptation import Encoded, Memory, TaskState
from hyperx.backbone.t5 import T5
from hyperx.emission import Emission


@struct.dataclass
class Conditioning:
    """What a condition does to the backbone.

    Attributes:
        encoder: emission of the encoder.
        decoder: emission of the decoder.
        memory: what the decoder may attend to besides the input, or None.
    """

    encoder: Emission
    decoder: Emission
    memory: Encoded | Memory | None = None

    @classmethod
    def nothing(cls) -> "Conditioning":
        """Leaves the backbone as it is."""
        return cls(Emission.nothing(), Emission.nothing())

    @classmethod
    def of(cls, state: TaskState) -> "Conditioning":
        """What a kept task state does: the same as its condition, already generated."""
        return cls(
            Emission.precomputed(state.encoder),
            Emission.precomputed(state.decoder),
            state.memory,
        )


class Hypernetwork(nn.Module):
    """Reads G conditions and writes the weights of every layer for each of them.

    Attributes:
        conditioner: module ``(tokens [G, I], backbone) -> Encoded``: the code.
        generator: module ``(code) -> (encoder Emission, decoder Emission)``, or None.
        fusion: whether the decoder also attends to the code.
    """

    conditioner: nn.Module
    generator: nn.Module | None
    fusion: bool

    def __call__(self, tokens: jax.Array, backbone: T5) -> Conditioning:
        """Conditions on tokens ``[G, I]``."""
        code = self.conditioner(tokens, backbone)
        emissions = (Emission.nothing(), Emission.nothing())
        if self.generator is not None:
            emissions = self.generator(code)
        return Conditioning(*emissions, code if self.fusion else None)
