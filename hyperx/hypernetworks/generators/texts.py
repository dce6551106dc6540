"""Generators of low-rank updates from one vector of text.

Behind a common trunk (`hyperx.hypernetworks.generators.text_trunk`) heads turn what it
says of a projection of a layer into what that projection is given. They are shared by
all layers and attentions, one for each kind of projection.

Text-to-LoRA (Charakorn et al. 2025) writes both factors of a low-rank update. It has
three sizes: ``L`` has a head for each factor; ``M`` one head for both, told apart by an
embedding; ``S`` one head for both and for every unit, one unit at a time. Zhyper
(Abdalla et al. 2025) learns the factors and writes a weight for each of their units.

Updates start as in LoRA, at nothing: the last factor is zero. Where heads write it they
start as zeros with a bias ("bias-HyperInit", Beck et al. 2023), alike for every text.

NOTE: the published heads ``M`` and ``S`` have one bias for both factors, so that their
updates do not start at nothing. Here each factor and unit has its own, as in ``L``.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes
from hyperx.adaptation import PROJECTIONS, LayerAdaptation, LowRank, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.generators.text_trunk import (
    MODULES,
    UPDATED,
    TextGeneratorConfig,
    Trunk,
)

_FACTORS = ("a", "b")


class _Generator(nn.Module):
    """What both generators declare."""

    config: TextGeneratorConfig

    def _kernel(self, name: str, out: int, stddev: float) -> jax.Array:
        """A head's kernel ``[head_width, out]``."""
        normal = nn.initializers.normal(stddev)
        init = boxed(normal, axes.HEAD_MLP, axes.EMBED_OUT)
        return self.param(name, init, (self.config.head_width, out))

    def _factor(
        self, name: str, projection: str, factor: str, *layers: int
    ) -> jax.Array:
        """A factor ``[*layers, N, width]`` as LoRA starts it: the last one is zero."""
        axis = PROJECTIONS[projection][_FACTORS.index(factor)]
        init = {"a": _uniform, "b": nn.initializers.zeros}[factor]
        names = (*[axes.LAYERS] * len(layers), axes.RANK, axis)
        shape = (*layers, self.config.rank, self._width(projection, factor))
        return self.param(name, boxed(init, *names), shape)

    def _width(self, projection: str, factor: str) -> int:
        """Width of what a factor reads or writes."""
        backbone = self.config.backbone
        size = {
            axes.EMBED: backbone.embed_dim,
            axes.JOINED_HEADS: backbone.joined_heads,
        }
        return size[PROJECTIONS[projection][_FACTORS.index(factor)]]


class UpdateGenerator(_Generator):
    """Text-to-LoRA: heads write both factors of every update."""

    @nn.compact
    def __call__(self, text: jax.Array) -> Conditioning:
        """Emissions of encoder and decoder for vectors ``[G, D]``."""
        heads = {name: self._head(name) for name in UPDATED}
        fn = _EmitUpdates(self.config)
        inputs = Trunk(self.config, name="trunk")(text)
        return Conditioning(
            **{
                stack: Emission.of(fn, shared=heads, layers=layers)
                for stack, layers in inputs.items()
            }
        )

    def _head(self, name: str) -> dict[str, dict[str, jax.Array]]:
        """Kernels and biases of both factors for one kind of projection."""
        widths, rank = {x: self._width(name, x) for x in _FACTORS}, self.config.rank
        if self.config.variant == "L":
            kernels = {
                x: self._kernel(f"head_{name}_{x}", rank * width, 0.0)
                for x, width in widths.items()
            }
        else:
            units = 1 if self.config.variant == "S" else rank
            shared = self._kernel(f"head_{name}", units * max(widths.values()), 0.0)
            kernels = dict.fromkeys(_FACTORS, shared)
        biases = {x: self._factor(f"head_{name}_{x}_bias", name, x) for x in _FACTORS}
        return {"kernel": kernels, "bias": biases}


@dataclasses.dataclass(frozen=True)
class _EmitUpdates:
    """Writes one layer's updates from the trunk's outputs ``[modules, G, ...]``."""

    config: TextGeneratorConfig

    def __call__(self, shared: dict[str, Any], layer: jax.Array) -> LayerAdaptation:
        dtype = self.config.backbone.dtype
        shared, layer = jax.tree.map(lambda x: x.astype(dtype), (shared, layer))

        def update(number: int, name: str) -> LowRank:
            a, b = (self._write(shared[name], layer[number], x) for x in _FACTORS)
            return LowRank(a, b, self.config.scale)

        return _adapted(layer.shape[0], update)

    def _write(self, head: dict[str, Any], inputs: jax.Array, factor: str) -> jax.Array:
        """One factor ``[G, N, width]``."""
        kernel, bias = head["kernel"][factor], head["bias"][factor]
        if self.config.variant != "L":
            inputs = inputs[:, _FACTORS.index(factor)]
        out = jnp.einsum("G...i,io->G...o", inputs, kernel)
        out = out.reshape(out.shape[0], bias.shape[0], -1)
        # A head of both factors is as wide as the wider of them.
        return out[..., : bias.shape[1]] + bias[None]


class ModulationGenerator(_Generator):
    """Zhyper: factors are learned, heads write a weight for each of their units."""

    @nn.compact
    def __call__(self, text: jax.Array) -> Conditioning:
        """Emissions of encoder and decoder for vectors ``[G, D]``."""
        rank, ones = self.config.rank, boxed(nn.initializers.ones, axes.RANK)
        stddev = self.config.head_width**-0.5
        heads = {
            name: {
                "kernel": self._kernel(f"head_{name}", rank, stddev),
                "bias": self.param(f"head_{name}_bias", ones, (rank,)),
            }
            for name in UPDATED
        }
        fn = _EmitModulated(self.config)
        inputs = Trunk(self.config, name="trunk")(text)
        emissions = {}
        for stack, outputs in inputs.items():
            layers = {"inputs": outputs, "factors": self._factors(stack)}
            emissions[stack] = Emission.of(fn, shared=heads, layers=layers)
        return Conditioning(**emissions)

    def _factors(self, stack: str) -> list[dict[str, jax.Array]]:
        """Both factors ``[L, N, width]`` of every module of a stack."""
        layers = self.config.layers[stack]
        return [
            {
                x: self._factor(f"{stack}_{site}_{name}_{x}", name, x, layers)
                for x in _FACTORS
            }
            for site, name in MODULES[stack]
        ]


@dataclasses.dataclass(frozen=True)
class _EmitModulated:
    """Weighs one layer's updates; all groups share their first factors."""

    config: TextGeneratorConfig

    def __call__(
        self, shared: dict[str, Any], layer: dict[str, Any]
    ) -> LayerAdaptation:
        dtype = self.config.backbone.dtype
        shared, layer = jax.tree.map(lambda x: x.astype(dtype), (shared, layer))

        def update(number: int, name: str) -> LowRank:
            head, factors = shared[name], layer["factors"][number]
            z = jnp.einsum("Gi,iN->GN", layer["inputs"][number], head["kernel"])
            z = z + head["bias"][None]
            b = z[..., None] * factors["b"][None]
            return LowRank(factors["a"][None], b, self.config.scale)

        return _adapted(len(layer["factors"]), update)


def _adapted(modules: int, update: Callable[[int, str], LowRank]) -> LayerAdaptation:
    """A layer's updates, each from the number and the projection of its module."""
    sites = [
        SiteParts(low_rank={n: update(first + i, n) for i, n in enumerate(UPDATED)})
        for first in range(0, modules, len(UPDATED))
    ]
    return adaptation.constrain(LayerAdaptation(*sites))


def _uniform(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32):
    """How the published code starts LoRA's first factor, ``[..., width]``."""
    bound = shape[-1] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
