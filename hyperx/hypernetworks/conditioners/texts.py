"""Conditioners that read the text of a condition."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx.adaptation import Encoded
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
        separator: the token that ends an example, if examples are to be encoded each
            on its own, as in FiD-ICL (Ye et al. 2023). None for one text.
    """

    config: T5Config
    tied: bool = True
    see_padding: bool = False
    separator: int | None = None

    def setup(self) -> None:
        if not self.tied:
            if self.separator is not None:
                raise ValueError(
                    "expected no separator for an encoder of its own, got "
                    f"{self.separator}"
                )
            self.encoder = Encoder(self.config)

    def __call__(self, tokens: jax.Array, backbone: T5) -> Encoded:
        """Encodes ``[G, I]`` tokens as ``[G, I, D]``, zero where there is padding."""
        mask = tokens != PAD
        visible = jnp.ones_like(mask) if self.see_padding else mask
        if self.tied:
            rows = backbone.encode(
                tokens[:, None],
                Emission.nothing(),
                mask=visible[:, None],
                blocks=self._examples(tokens[:, None]),
            )
            hidden = rows.hidden[:, 0]
        else:
            embedded = backbone.embed(tokens[:, None])
            hidden = self.encoder(embedded, visible[:, None], Emission.nothing())[:, 0]
        return Encoded(hidden * mask[..., None].astype(hidden.dtype), mask)

    def _examples(self, tokens: jax.Array) -> jax.Array | None:
        """The number of each position's example: of the separators before it.

        An example sees itself alone and relative positions do not change with where it
        stands, so it is encoded as if it were the whole condition.
        """
        if self.separator is None:
            return None
        ends = (tokens == self.separator).astype(jnp.int32)
        return jnp.cumsum(ends, axis=-1) - ends


class TextEmbedding(nn.Module):
    """One vector for a condition: the mean of its tokens' encodings.

    NOTE: with dropout, if there is any; embedding models run without.

    Attributes:
        encoder: of the tokens.
        frozen: let no gradient into the encoder on this way.
    """

    encoder: InstructionEncoder
    frozen: bool = True

    def __call__(self, tokens: jax.Array, backbone: T5) -> jax.Array:
        """Embeds ``[G, I]`` tokens as ``[G, D]``."""
        encoded = self.encoder(tokens, backbone)
        count = jnp.maximum(jnp.sum(encoded.mask, axis=1, keepdims=True), 1)
        mean = jnp.sum(encoded.hidden, axis=1) / count.astype(encoded.hidden.dtype)
        return jax.lax.stop_gradient(mean) if self.frozen else mean
