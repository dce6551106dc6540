"""The hypermodel: a whole T5 that reads a condition into slots (Phang et al. 2023)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.backbone.layers import RMSNorm, boxed
from hyperx.backbone.t5 import T5
from hyperx.config import T5Config
from hyperx.emission import Emission


class Hypermodel(nn.Module):
    """A T5 of its own, whose decoder fills learned slots with what the encoder read.

    The slots take the place of target tokens. All are filled in one pass, and each
    sees all others: nothing is decoded.

    NOTE: distances between slots pass the decoder's own table of relative positions,
    in which all later positions share one entry.

    Attributes:
        config: of the T5; that of the backbone, since it starts as its copy.
        slots: how many.
    """

    config: T5Config
    slots: int

    def setup(self) -> None:
        self.model = T5(self.config)
        self.slot_embedding = self.param(
            "slot_embedding",
            boxed(nn.initializers.normal(1.0), axes.QUERIES, axes.EMBED),
            (self.slots, self.config.embed_dim),
        )
        self.slot_norm = RMSNorm(self.config.norm_epsilon, self.config.dtype)

    def __call__(self, tokens: jax.Array, backbone: T5) -> jax.Array:
        """The slots' states ``[G, slots, D]`` for conditions ``[G, I]``."""
        del backbone
        encoded = self.model.encode(tokens[:, None], Emission.nothing())
        shape = (tokens.shape[0], 1, *self.slot_embedding.shape)
        slots = self.slot_embedding.astype(self.config.dtype)[None, None]
        states = self.model.decoder(
            jnp.broadcast_to(slots, shape), Emission.nothing(), (encoded,), causal=False
        )
        return self.slot_norm(states[:, 0])
