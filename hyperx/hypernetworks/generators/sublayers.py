"""HyperFormer's generators: an adapter behind every self-attention and feed-forward.

Linear hypernetworks turn a code of width t into a sequential adapter and the layer
normalisation of its output (Karimi Mahabadi et al. 2021, section 2). HyperFormer++ has
one set of them per stack, whose codes are made of task, layer and position; in
HyperFormer every sub-layer has its own, which read the task's embedding itself.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes, sharding
from hyperx.adaptation import Adapter, LayerAdaptation, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.generators.layers import Affine, affine

# Fields of `LayerAdaptation`, in the order of the published position embeddings.
SITES = ("mlp", "self_attention")
_STDDEV = 0.01  # of every kernel at the start
_NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class SublayerGeneratorConfig:
    """What the generator writes, and how.

    Attributes:
        backbone: the T5 that receives the adapters.
        bottleneck: of the adapters (M).
        width: of a code, and of the embeddings behind it (t).
        mlp_width: hidden width of the network that makes codes of task, layer and
            position (e).
        shared_across_layers: one set of hypernetworks for a stack, else one for every
            sub-layer.
        identity_start: adapters write zeros at first.
    """

    backbone: T5Config
    bottleneck: int
    width: int
    mlp_width: int
    shared_across_layers: bool
    identity_start: bool


class SublayerGenerator(nn.Module):
    """Emits sequential adapters for both stacks, each by hypernetworks of its own."""

    config: SublayerGeneratorConfig

    @nn.compact
    def __call__(self, code: jax.Array) -> Conditioning:
        """Emissions of encoder and decoder for task embeddings ``[G, t]``."""
        config, backbone = self.config, self.config.backbone
        code = sharding.constrain(code, (axes.GROUPS, None))
        kind = _Shared if config.shared_across_layers else _Own
        encoder = kind(config, backbone.num_encoder_layers, name="encoder")
        decoder = kind(config, backbone.num_decoder_layers, name="decoder")
        return Conditioning(encoder(code), decoder(code))


class _Own(nn.Module):
    """HyperFormer: every sub-layer of a stack of L layers has its hypernetworks."""

    config: SublayerGeneratorConfig
    layers: int

    @nn.compact
    def __call__(self, code: jax.Array) -> Emission:
        """The emission of the stack for task embeddings ``[G, t]``."""
        config, stack = self.config, (self.layers,)
        heads = {site: _Heads(config, stack, name=site)() for site in SITES}
        emit = _EmitOwn(config.backbone.dtype, config.bottleneck)
        return Emission.of(emit, shared=code, layers=heads)


class _Shared(nn.Module):
    """HyperFormer++: all sub-layers of a stack of L layers share hypernetworks."""

    config: SublayerGeneratorConfig
    layers: int

    @nn.compact
    def __call__(self, code: jax.Array) -> Emission:
        """The emission of the stack for task embeddings ``[G, t]``."""
        heads = _Heads(self.config, name="heads")()
        emit = _EmitShared(self.config.backbone.dtype, self.config.bottleneck)
        return Emission.of(emit, shared=heads, layers=self._codes(code))

    def _codes(self, code: jax.Array) -> dict[str, jax.Array]:
        """Codes ``[L, G, t]`` of both positions in every layer."""
        layer = self._embedding("layer_embedding", axes.LAYERS, self.layers)
        position = self._embedding("position_embedding", None, len(SITES))
        shape = (self.layers, len(SITES), *code.shape)
        parts = (code[None, None], layer[:, None, None], position[None, :, None])
        joined = jnp.concatenate([jnp.broadcast_to(x, shape) for x in parts], axis=-1)
        hidden = jax.nn.relu(_dense("mlp_wi", self.config.mlp_width)(joined))
        codes = nn.LayerNorm(
            _NORM_EPSILON,
            scale_init=boxed(nn.initializers.ones_init(), None),
            bias_init=boxed(nn.initializers.zeros_init(), None),
            name="code_norm",
        )(_dense("mlp_wo", self.config.width)(hidden))
        codes = sharding.constrain(codes, (axes.LAYERS, None, axes.GROUPS, None))
        return {site: codes[:, i] for i, site in enumerate(SITES)}

    def _embedding(self, name: str, axis: str | None, rows: int) -> jax.Array:
        init = boxed(nn.initializers.normal(1.0), axis, None)
        return self.param(name, init, (rows, self.config.width))


class _Heads(nn.Module):
    """Affine maps from a code to each array of an adapter.

    NOTE: ``up`` is written unit by unit, as M rows of width D; the published code
    writes its transpose.

    Attributes:
        config: of the generator.
        stack: leading axes of the parameters: L, or nothing.
    """

    config: SublayerGeneratorConfig
    stack: tuple[int, ...] = ()

    @nn.compact
    def __call__(self) -> dict[str, Affine]:
        """Kernels ``[..., t, width]`` and biases ``[..., width]`` by array."""
        config = self.config
        embed, size = config.backbone.embed_dim, config.bottleneck
        # Layer normalisation lets nothing through without scale and bias.
        norm = 0.0 if config.identity_start else _STDDEV
        sizes = {
            "down": (size * embed, axes.BOTTLENECK, _STDDEV),
            "up": (size * embed, axes.BOTTLENECK, _STDDEV),
            "down_bias": (size, axes.BOTTLENECK, _STDDEV),
            "up_bias": (embed, axes.EMBED, _STDDEV),
            "norm_scale": (embed, axes.EMBED, norm),
            "norm_bias": (embed, axes.EMBED, norm),
        }
        return {
            name: _AffineParameters(
                (*self.stack, config.width, features), axis, stddev, name=name
            )()
            for name, (features, axis, stddev) in sizes.items()
        }


class _AffineParameters(nn.Module):
    """The parameters of affine maps.

    Attributes:
        shape: of the kernel, ``[inputs, features]`` or ``[L, inputs, features]``.
        axis: logical name of the last axis.
        stddev: of the initial kernel; the bias starts at zero.
    """

    shape: tuple[int, ...]
    axis: str
    stddev: float

    @nn.compact
    def __call__(self) -> Affine:
        *stack, _, features = self.shape
        names = (axes.LAYERS,) * len(stack)
        kernel = boxed(nn.initializers.normal(self.stddev), *names, None, self.axis)
        bias = boxed(nn.initializers.zeros_init(), *names, self.axis)
        return {
            "kernel": self.param("kernel", kernel, self.shape),
            "bias": self.param("bias", bias, (*stack, features)),
        }


def _dense(name: str, features: int) -> nn.Dense:
    kernel = boxed(nn.initializers.normal(_STDDEV), None, None)
    bias = boxed(nn.initializers.zeros_init(), None)
    return nn.Dense(features, kernel_init=kernel, bias_init=bias, name=name)


@dataclasses.dataclass(frozen=True)
class _Emit:
    """Writes the adapters of one layer."""

    dtype: str
    bottleneck: int

    def _adapter(self, heads: dict[str, Affine], code: jax.Array) -> SiteParts:
        """The adapter that hypernetworks write for codes ``[G, t]``."""
        code = code.astype(self.dtype)
        arrays = {name: affine(head, code) for name, head in heads.items()}
        for name in ("down", "up"):
            arrays[name] = arrays[name].reshape(len(code), self.bottleneck, -1)
        adapter = Adapter(**arrays, activation="gelu", placement="sequential")
        return SiteParts(adapter=adapter)


class _EmitOwn(_Emit):
    """From the task's embedding, by the layer's hypernetworks of each sub-layer."""

    def __call__(
        self, shared: jax.Array, layer: dict[str, dict[str, Affine]]
    ) -> LayerAdaptation:
        sites = {site: self._adapter(heads, shared) for site, heads in layer.items()}
        return adaptation.constrain(LayerAdaptation(**sites))


class _EmitShared(_Emit):
    """From the layer's code of each sub-layer, by the hypernetworks of the stack."""

    def __call__(
        self, shared: dict[str, Affine], layer: dict[str, jax.Array]
    ) -> LayerAdaptation:
        sites = {site: self._adapter(shared, code) for site, code in layer.items()}
        return adaptation.constrain(LayerAdaptation(**sites))
