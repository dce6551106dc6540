"""Conditioners: modules that read a condition."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.adaptation import Encoded
from hyperx.backbone.layers import boxed
from hyperx.backbone.t5 import PAD, T5, Encoder
from hyperx.config import T5Config
from hyperx.emission import Emission


class InstructionEncoder(nn.Module):
    """The token-wise encoding of the condition by a T5 encoder, adaptations off.

    HINT (Ivison et al. 2023) ties it to the backbone's own encoder.

    Attributes:
        config: of the encoder.
        tied: use the backbone's encoder; else an own one, which shares the backbone's
            token embedding.
        see_padding: let the condition's tokens attend to padding, as the reference
            implementation does; the code then depends on the padded length.
    """

    config: T5Config
    tied: bool = True
    see_padding: bool = False

    def setup(self) -> None:
        if not self.tied:
            self.encoder = Encoder(self.config)

    def __call__(self, tokens: jax.Array, backbone: T5) -> Encoded:
        """Encodes ``[G, I]`` tokens as ``[G, I, D]``, zero where there is padding."""
        mask = tokens != PAD
        visible = jnp.ones_like(mask) if self.see_padding else mask
        if self.tied:
            rows = backbone.encode(
                tokens[:, None], Emission.nothing(), mask=visible[:, None]
            )
            hidden = rows.hidden[:, 0]
        else:
            embedded = backbone.embed(tokens[:, None])
            hidden = self.encoder(embedded, visible[:, None], Emission.nothing())[:, 0]
        return Encoded(hidden * mask[..., None].astype(hidden.dtype), mask)


class TaskEmbedding(nn.Module):
    """A learned vector for each task that is known.

    Attributes:
        tasks: how many.
        width: of a vector.
        stddev: of the initial vectors.
    """

    tasks: int
    width: int
    stddev: float = 1.0

    @nn.compact
    def __call__(self, tokens: jax.Array, backbone: T5) -> jax.Array:
        """The vectors ``[G, width]`` of tasks with numbers ``[G, 1]``."""
        del backbone
        table = self.param(
            "embedding",
            boxed(nn.initializers.normal(self.stddev), axes.TASKS, axes.EMBED),
            (self.tasks, self.width),
        )
        return jnp.take(table, tokens[:, 0], axis=0)
