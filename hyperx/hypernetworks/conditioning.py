"""Conditioning: what a hypernetwork hands to the backbone."""

import jax
from flax import struct

from hyperx.adaptation import Encoded, Memory
from hyperx.emission import Emission
from hyperx.task_state import TaskState


@struct.dataclass
class Conditioning:
    """What conditions, or inputs, do to the backbone.

    Attributes:
        encoder: emission of the encoder.
        decoder: emission of the decoder.
        memory: what the decoder may attend to besides the input, or None.
        prompt: embeddings in front of every input, ``[G, P, D]``, or None.
    """

    encoder: Emission = struct.field(default_factory=Emission.nothing)
    decoder: Emission = struct.field(default_factory=Emission.nothing)
    memory: Encoded | Memory | None = None
    prompt: jax.Array | None = None

    @classmethod
    def of(cls, state: TaskState) -> "Conditioning":
        """What a kept task state does: the same as its condition, already generated."""
        state = state.constrain()
        return cls(
            Emission.precomputed(state.encoder),
            Emission.precomputed(state.decoder),
            state.memory,
            state.prompt,
        )
