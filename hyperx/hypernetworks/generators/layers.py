"""Hyperdecoders' generator: one small network writes the adapters of a whole stack.

A code and a layer's embedding pass one hidden layer; four affine heads, shared by all
layers, turn it into an adapter of that layer's feed-forward (Ivison and Peters 2022).
What the code was read from, an input, a task or a text, is no concern of this module.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes, sharding
from hyperx.adaptation import Adapter, LayerAdaptation, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission

# Generated weights start this much smaller than what would keep variances ("hyperfan"
# initialisation, Chang et al. 2020), so that a stack starts as if it had no adapters.
_GAIN = 1e-3

Affine = dict[str, jax.Array]


class AffineParameters(nn.Module):
    """The parameters of an affine map, which may be applied inside an emission.

    Attributes:
        inputs: width of what it reads.
        features: width of what it writes.
        names: logical names of these axes.
        bound: the kernel starts uniform within ``+-bound``, the bias at zero. If None,
            both start within ``inputs ** -0.5``, the default of the published code.
    """

    inputs: int
    features: int
    names: sharding.Names = (None, None)
    bound: float | None = None

    @nn.compact
    def __call__(self) -> Affine:
        """The kernel ``[inputs, features]`` and the bias ``[features]``."""
        kernel, bias = self.bound, 0.0
        if kernel is None:
            kernel = bias = self.inputs**-0.5
        shape = (self.inputs, self.features)
        return {
            "kernel": self.param("kernel", boxed(_within(kernel), *self.names), shape),
            "bias": self.param("bias", boxed(_within(bias), self.names[1]), shape[1:]),
        }


def affine(parameters: Affine, x: jax.Array) -> jax.Array:
    """Maps ``[G, inputs]`` to ``[G, features]``, in the dtype of `x`."""
    out = jnp.einsum("Gi,io->Go", x, parameters["kernel"].astype(x.dtype))
    return out + parameters["bias"].astype(x.dtype)[None]


class LayerGenerator(nn.Module):
    """Writes the feed-forward adapters of all layers of one stack.

    Attributes:
        backbone: the T5 whose weights are generated.
        layers: of the stack (L).
        bottleneck: of the adapters (M).
        hidden: width of the hidden layer.
        layer_width: of a layer's embedding.
        placement: of the adapters, see `hyperx.adaptation.Adapter`.
    """

    backbone: T5Config
    layers: int
    bottleneck: int
    hidden: int = 128
    layer_width: int = 10
    placement: str = "residual"

    @nn.compact
    def __call__(self, code: jax.Array) -> Emission:
        """The emission of the stack for codes ``[G, width]``."""
        width = code.shape[-1]
        joined = width + self.layer_width
        layer = AffineParameters(joined, self.hidden, name="hidden_layer")()
        of_code, of_layer = jnp.split(layer["kernel"], [width])
        embedding = self.param(
            "layer_embedding",
            boxed(nn.initializers.normal(1.0), axes.LAYERS, None),
            (self.layers, self.layer_width),
        )
        # The hidden layer reads code and layer side by side: the code's share of it is
        # the same in all layers.
        wide = code.astype(jnp.float32)
        share = affine({"kernel": of_code, "bias": layer["bias"]}, wide)
        shared = {
            "code": sharding.constrain(share, (axes.GROUPS, None)),
            "heads": self._heads(),
        }
        emit = _Emit(self.backbone.dtype, self.bottleneck, self.placement)
        return Emission.of(emit, shared=shared, layers=embedding @ of_layer)

    def _heads(self) -> dict[str, Affine]:
        """An affine map from the hidden layer to each array of an adapter."""
        embed, size = self.backbone.embed_dim, self.bottleneck
        # Width of the array, its logical name, and the fan-in of what is generated.
        sizes = {
            "down": (size * embed, axes.BOTTLENECK, embed),
            "up": (size * embed, axes.BOTTLENECK, size),
            "down_bias": (size, axes.BOTTLENECK, 1),
            "up_bias": (embed, axes.EMBED, 1),
        }
        return {
            name: AffineParameters(
                self.hidden,
                features,
                (None, axis),
                _GAIN * (3 / (self.hidden * fan_in)) ** 0.5,
                name=name,
            )()
            for name, (features, axis, fan_in) in sizes.items()
        }


@dataclasses.dataclass(frozen=True)
class _Emit:
    """Writes one layer's adapter."""

    dtype: str
    bottleneck: int
    placement: str

    def __call__(self, shared: dict[str, Any], layer: jax.Array) -> LayerAdaptation:
        hidden = jax.nn.relu(shared["code"] + layer[None]).astype(self.dtype)
        arrays = {name: affine(head, hidden) for name, head in shared["heads"].items()}
        for name in ("down", "up"):
            arrays[name] = arrays[name].reshape(len(hidden), self.bottleneck, -1)
        adapter = Adapter(**arrays, activation="relu", placement=self.placement)
        return adaptation.constrain(LayerAdaptation(mlp=SiteParts(adapter=adapter)))


def _within(bound: float) -> nn.initializers.Initializer:
    """Uniform within ``+-bound``."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
