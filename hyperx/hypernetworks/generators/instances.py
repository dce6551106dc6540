"""Hypernetworks that read single inputs: the instance half of Hyperdecoders.

The mean of what the encoder made of an input is the code from which that input's own
weights are written (Ivison and Peters 2022).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.adaptation import Encoded
from hyperx.emission import Emission
from hyperx.hypernetworks.generators.layers import AffineParameters, affine


class InstanceHypernetwork(nn.Module):
    """What is written for single rows, stack by stack.

    Attributes:
        encoder: module ``(encoded) -> Emission``, or None where nothing is written.
        decoder: as `encoder`.
    """

    encoder: nn.Module | None = None
    decoder: nn.Module | None = None

    def __call__(self, encoded: Encoded) -> dict[str, Emission]:
        """Emissions for encoded rows ``[G * R, 1, S, D]``, by stack."""
        stacks = {"encoder": self.encoder, "decoder": self.decoder}
        return {
            name: read(encoded) for name, read in stacks.items() if read is not None
        }


class PooledReader(nn.Module):
    """Writes one stack's weights from the mean of an encoding.

    Attributes:
        generator: module ``(code [G, D]) -> Emission``.
        mlp: whether the mean passes two layers on its way to the generator.
    """

    generator: nn.Module
    mlp: bool = True

    @nn.compact
    def __call__(self, encoded: Encoded) -> Emission:
        """The emission for encoded rows ``[G * R, 1, S, D]``."""
        code = mean_pooled(encoded)
        if self.mlp:
            embed, names = code.shape[-1], (axes.EMBED, axes.EMBED_OUT)
            wi = AffineParameters(embed, embed, names, name="mlp_wi")()
            wo = AffineParameters(embed, embed, names, name="mlp_wo")()
            code = affine(wo, jax.nn.relu(affine(wi, code)))
        return self.generator(code)


def mean_pooled(encoded: Encoded) -> jax.Array:
    """The mean over the tokens of each group, ``[G, D]`` in float32.

    Args:
        encoded: ``[G, R, S, D]``; the mean of padding alone is zero.
    """
    mask = encoded.mask[..., None].astype(jnp.float32)
    total = jnp.sum(encoded.hidden.astype(jnp.float32) * mask, axis=(1, 2))
    return total / jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1.0)
