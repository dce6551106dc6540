"""The trunk of generators that read one vector of text.

The vector, an embedding of the layer and one of the *module* (a projection of an
attention) pass together through a small network: once for each module of each layer.
What comes out is for heads to read. It is the hypernetwork of Text-to-LoRA (Charakorn
et al. 2025) up to its heads, in the sizes of its published code, and that of Zhyper.

NOTE: the published one has a dropout of 0.05, this one none.
"""

import dataclasses
import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hyperx import axes, sharding
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config

Variant = Literal["L", "M", "S"]

UPDATED = ("query", "value")
# Attention and projection of the modules of one layer.
MODULES = {
    "encoder": tuple(("self_attention", name) for name in UPDATED),
    "decoder": tuple(
        (site, name)
        for site in ("self_attention", "cross_attention")
        for name in UPDATED
    ),
}
_KINDS = sum(map(len, MODULES.values()))
_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextGeneratorConfig:
    """What the generators write, and how.

    Attributes:
        backbone: the T5 whose attentions are updated.
        rank: of the updates (N).
        alpha: the updates' factor is ``alpha / sqrt(rank)`` (Kalajdzievski 2023).
        code_width: of the trunk; half of it is for the text, a quarter each for the
            embeddings of layer and module.
        head_width: of what the heads read.
        variant: of Text-to-LoRA's heads, see `hyperx.hypernetworks.generators.texts`.
    """

    backbone: T5Config
    rank: int
    alpha: float
    code_width: int
    head_width: int
    variant: Variant = "L"

    def __post_init__(self) -> None:
        if self.code_width % 4:
            raise ValueError(
                f"expected a code_width that divides by 4, got {self.code_width}"
            )

    @property
    def scale(self) -> float:
        """The factor of all updates."""
        return self.alpha / math.sqrt(self.rank)

    @property
    def layers(self) -> dict[str, int]:
        """Layers of each stack."""
        backbone = self.backbone
        return {
            "encoder": backbone.num_encoder_layers,
            "decoder": backbone.num_decoder_layers,
        }


class Trunk(nn.Module):
    """Mixes text, layer and module. Computes in float32: it is small."""

    config: TextGeneratorConfig

    @nn.compact
    def __call__(self, text: jax.Array) -> dict[str, jax.Array]:
        """Outputs ``[L, modules, G, ..., head_width]`` of each stack for ``[G, D]``.

        In between come, for heads of variant ``M``, the two factors, and for those of
        ``S`` factors and units.
        """
        config, width = self.config, self.config.code_width
        layers, modules = _slots(config)
        x = _Mlp(width, 4 * width, name="mixer")(self._code(text, layers, modules))
        x = _Block(width, name="first_block")(x)
        second = _Block(width, name="second_block")
        if config.variant != "L":
            factors = self._embedding("factor_embedding", 2 * _KINDS, width)
            x = x[:, :, None] + factors.reshape(_KINDS, 1, 2, width)[modules]
        x = second(x)
        if config.variant == "S":
            units = second(self._embedding("unit_embedding", config.rank, width))
            x = x[..., None, :] + units[None, None, None]
        x = _norm("head_norm")(x)
        return self._by_layer(_Mlp(config.head_width, 4 * width, name="head_mlp")(x))

    def _code(
        self, text: jax.Array, layers: np.ndarray, modules: np.ndarray
    ) -> jax.Array:
        """What the trunk reads, ``[slots, G, code_width]``."""
        quarter, rows = self.config.code_width // 4, sum(self.config.layers.values())
        text = _dense(2 * quarter, "text")(text.astype(jnp.float32))
        text = _norm("text_norm")(text)[None]
        layer = self._embedding("layer_embedding", rows, quarter)[layers]
        module = self._embedding("module_embedding", _KINDS, quarter)[modules]
        shape = (len(layers), text.shape[1])
        parts = (text, layer[:, None], module[:, None])
        parts = [jnp.broadcast_to(x, (*shape, x.shape[-1])) for x in parts]
        return jnp.concatenate(parts, axis=-1)

    def _embedding(self, name: str, rows: int, width: int) -> jax.Array:
        """A normalised table ``[rows, width]``."""
        init = boxed(nn.initializers.normal(1.0), None, None)
        return _norm(f"{name}_norm")(self.param(name, init, (rows, width)))

    def _by_layer(self, x: jax.Array) -> dict[str, jax.Array]:
        """``[slots, ...]`` as ``[L, modules, ...]`` of each stack."""
        found, start = {}, 0
        for stack, layers in self.config.layers.items():
            count = len(MODULES[stack])
            own = x[start : start + layers * count]
            own = own.reshape(layers, count, *x.shape[1:])
            names = (axes.LAYERS, None, axes.GROUPS) + (None,) * (x.ndim - 2)
            found[stack] = sharding.constrain(own, names)
            start += layers * count
        return found


def _slots(config: TextGeneratorConfig) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of layer and module of all slots: of the encoder, then of the decoder."""
    first, kinds = 0, []
    for stack, layers in config.layers.items():
        own = range(first, first + len(MODULES[stack]))
        kinds += [own] * layers
        first += len(MODULES[stack])
    slots = [(layer, kind) for layer, own in enumerate(kinds) for kind in own]
    layer, module = np.array(slots).T
    return layer, module


class _Mlp(nn.Module):
    """Two layers, an activation after each."""

    out: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.silu(_dense(self.hidden, "wi")(x))
        return jax.nn.silu(_dense(self.out, "wo")(x))


class _Block(nn.Module):
    """An `_Mlp` of what is normalised, around which there is a residual."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + _Mlp(self.width, 4 * self.width, name="mlp")(_norm("norm")(x))


def _dense(out: int, name: str) -> nn.Dense:
    kernel = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    zeros = boxed(nn.initializers.zeros, None)
    return nn.Dense(
        out, kernel_init=boxed(kernel, None, None), bias_init=zeros, name=name
    )


def _norm(name: str) -> nn.LayerNorm:
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    return nn.LayerNorm(
        _NORM_EPSILON,
        scale_init=boxed(ones, None),
        bias_init=boxed(zeros, None),
        name=name,
    )
