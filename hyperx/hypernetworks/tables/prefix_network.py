"""Prefixes through a network, as they are trained best (Li and Liang 2021)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes
from hyperx.adaptation import LayerAdaptation, Prefix, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.tables.tables import ATTENTION_SITES, Stack


class PrefixNetwork(nn.Module):
    """One stack's prefixes: a learned embedding of every position, through an MLP.

    The embedding and the first layer serve all layers of the stack; the second writes
    each layer's keys and values. Once trained, only what it writes is needed.

    NOTE: the published code has a network of its own for each kind of attention, and
    biases; here those of a stack share embedding and first layer, without biases.

    Attributes:
        config: of the backbone.
        stack: encoder or decoder.
        length: of the prefixes (P).
        hidden: width of the hidden layer.
        tasks: how many tasks have embeddings of their own; 0 if all share them.
    """

    config: T5Config
    stack: Stack
    length: int
    hidden: int
    tasks: int = 0

    @nn.compact
    def __call__(self, numbers: jax.Array | None) -> Emission:
        """The emission of tasks with numbers ``[G]``; None where all share prefixes."""
        dtype, embed = self.config.dtype, self.config.embed_dim
        rows = max(self.tasks, 1) * self.length
        init = boxed(nn.initializers.normal(1.0), axes.PREFIX, axes.EMBED)
        embedding = self.param("embedding", init, (rows, embed))
        init = boxed(nn.initializers.normal(embed**-0.5), axes.EMBED, axes.HEAD_MLP)
        kernel = self.param("wi", init, (embed, self.hidden))
        embedding = embedding.reshape(-1, self.length, embed).astype(dtype)
        if numbers is not None:
            embedding = jnp.take(embedding, numbers, axis=0)
        hidden = jnp.tanh(jnp.einsum("GPD,Do->GPo", embedding, kernel.astype(dtype)))
        emit = _Emit(self.config, self.stack)
        # In float32: its gradients, of all layers, add up in its own dtype.
        shared = hidden.astype(jnp.float32)
        return Emission.of(emit, shared=shared, layers=self._kernels())

    def _kernels(self) -> dict[str, jax.Array]:
        """The second layer's kernels ``[L, hidden, H * K]`` by site and side."""
        layers = getattr(self.config, f"num_{self.stack}_layers")
        names = (axes.LAYERS, None, axes.JOINED_HEADS)
        init = boxed(nn.initializers.normal(self.hidden**-0.5), *names)
        shape = (layers, self.hidden, self.config.joined_heads)
        return {
            f"{site}_{side}": self.param(f"{site}_{side}", init, shape)
            for site in ATTENTION_SITES[self.stack]
            for side in ("key", "value")
        }


@dataclasses.dataclass(frozen=True)
class _Emit:
    """Writes one layer's prefixes; static configuration only, so that jit can cache."""

    config: T5Config
    stack: Stack

    def __call__(
        self, hidden: jax.Array, kernels: dict[str, jax.Array]
    ) -> LayerAdaptation:
        heads = (self.config.num_heads, self.config.head_dim)
        hidden = hidden.astype(self.config.dtype)

        def side(name: str) -> jax.Array:
            kernel = kernels[name].astype(hidden.dtype)
            out = jnp.einsum("GPi,io->GPo", hidden, kernel)
            return out.reshape(*out.shape[:2], *heads)

        sites = {
            site: SiteParts(prefix=Prefix(side(f"{site}_key"), side(f"{site}_value")))
            for site in ATTENTION_SITES[self.stack]
        }
        return adaptation.constrain(LayerAdaptation(**sites))
