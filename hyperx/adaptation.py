"""The contract between hypernetworks and the backbone: generated weights as data.

Everything here is an ordinary pytree of arrays that travels as call arguments. No part
is ever a variable of a module, and none is ever copied over rows or beams. The leading
axis G of every array is 1 where all groups share it.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from hyperx import sharding
from hyperx.axes import (
    BOTTLENECK,
    EMBED,
    GROUPS,
    HEAD_DIM,
    HEADS,
    JOINED_HEADS,
    LAYERS,
    MLP,
    PREFIX,
    RANK,
)

# Input and output axis of the projections that may receive a low-rank update, by name:
# those of an attention, and those of a feed-forward layer.
PROJECTIONS = {
    "query": (EMBED, JOINED_HEADS),
    "key": (EMBED, JOINED_HEADS),
    "value": (EMBED, JOINED_HEADS),
    "out": (JOINED_HEADS, EMBED),
    "wi": (EMBED, MLP),
    "wi_0": (EMBED, MLP),
    "wi_1": (EMBED, MLP),
    "wo": (MLP, EMBED),
}
# What may be rescaled: keys and values of an attention, the hidden units of a
# feed-forward layer.
SCALED = {"key": JOINED_HEADS, "value": JOINED_HEADS, "hidden": MLP}

PLACEMENTS = ("parallel", "residual", "sequential")


@struct.dataclass
class Prefix:
    """Keys and values put in front of an attention's own (Li and Liang 2021).

    Attributes:
        key: ``[G, P, H, K]``.
        value: ``[G, P, H, K]``.
        gate: ``[G, H]``, added to every score of these keys; None adds nothing.
    """

    key: jax.Array
    value: jax.Array
    gate: jax.Array | None = None

    AXES: ClassVar = {
        "key": (GROUPS, PREFIX, HEADS, HEAD_DIM),
        "value": (GROUPS, PREFIX, HEADS, HEAD_DIM),
        "gate": (GROUPS, HEADS),
    }


@struct.dataclass
class Adapter:
    """Bottleneck adapter of a sub-layer: unit m reads and writes one row.

    Attributes:
        down: ``[G, M, D]``.
        up: ``[G, M, D]``.
        down_bias: ``[G, M]``.
        up_bias: ``[G, D]``.
        norm_scale: ``[G, D]``, of a layer normalisation of the adapter's output; None
            for no normalisation.
        norm_bias: ``[G, D]``, as `norm_scale`.
        activation: between the two; a name known to `hyperx.ops.activations`.
        placement: what it reads. ``parallel``: what the sub-layer reads; ``residual``:
            the residual stream before the sub-layer's normalisation; ``sequential``:
            what the sub-layer writes. Its output joins the residual stream.
    """

    down: jax.Array
    up: jax.Array
    down_bias: jax.Array
    up_bias: jax.Array
    norm_scale: jax.Array | None = None
    norm_bias: jax.Array | None = None
    activation: str = struct.field(pytree_node=False, default="gelu")
    placement: str = struct.field(pytree_node=False, default="parallel")

    AXES: ClassVar = {
        "down": (GROUPS, BOTTLENECK, EMBED),
        "up": (GROUPS, BOTTLENECK, EMBED),
        "down_bias": (GROUPS, BOTTLENECK),
        "up_bias": (GROUPS, EMBED),
        "norm_scale": (GROUPS, EMBED),
        "norm_bias": (GROUPS, EMBED),
    }


@struct.dataclass
class LowRank:
    """Low-rank update of a projection (Hu et al. 2022): unit n reads and writes a row.

    Attributes:
        a: ``[G, N, input width]``.
        b: ``[G, N, output width]``.
        scale: factor of the update.
    """

    a: jax.Array
    b: jax.Array
    scale: float = struct.field(pytree_node=False, default=1.0)


@struct.dataclass
class Scale:
    """Factors of a projection's outputs or of hidden units (Liu et al. 2022, IA3).

    Attributes:
        factor: ``[G, width]``.
    """

    factor: jax.Array


@struct.dataclass
class SiteParts:
    """What is generated for one sub-layer.

    Attributes:
        prefix: of an attention, or None.
        adapter: of the sub-layer, or None.
        low_rank: updates by name of the projection, see `PROJECTIONS`.
        scale: factors by name, see `SCALED`.
    """

    prefix: Prefix | None = None
    adapter: Adapter | None = None
    low_rank: dict[str, LowRank] = struct.field(default_factory=dict)
    scale: dict[str, Scale] = struct.field(default_factory=dict)


@struct.dataclass
class LayerAdaptation:
    """What is generated for one layer, or with a leading L on every leaf, for all."""

    self_attention: SiteParts = SiteParts()
    cross_attention: SiteParts = SiteParts()
    mlp: SiteParts = SiteParts()


@struct.dataclass
class Encoded:
    """Encoder output that a decoder may attend to.

    Attributes:
        hidden: ``[G, R, S, D]``, or ``[G, I, D]`` where all rows of a group share it.
        mask: ``[G, R, S]`` or ``[G, I]``, True where there is a token.
    """

    hidden: jax.Array
    mask: jax.Array


@struct.dataclass
class Memory:
    """`Encoded` after each decoder layer's key and value projections.

    Attributes:
        key: ``[L, G, R, S, H, K]`` or ``[L, G, I, H, K]``.
        value: as `key`.
        mask: ``[G, R, S]`` or ``[G, I]``.
    """

    key: jax.Array
    value: jax.Array
    mask: jax.Array

    @property
    def length(self) -> int:
        """Positions of a condition or a row (I or S)."""
        return self.mask.shape[-1]

    def padded(self, length: int) -> "Memory":
        """The same with invisible positions behind it, `length` in all."""

        def pad(leaf: jax.Array, axis: int) -> jax.Array:
            widths = [(0, 0)] * leaf.ndim
            widths[axis] = (0, length - self.length)
            return jnp.pad(leaf, widths)

        last = self.mask.ndim - 1  # Of the mask, which has no L in front.
        key, value = pad(self.key, last + 1), pad(self.value, last + 1)
        return Memory(key, value, pad(self.mask, last))


Part = Prefix | Adapter | LowRank | Scale


def is_part(node: Any) -> bool:
    """Whether a node of a tree of parts is a part."""
    return isinstance(node, Part)


def constrain(parts: LayerAdaptation) -> LayerAdaptation:
    """Fixes the sharding of every generated array of one or of all layers."""
    return jax.tree.map(sharding.constrain, parts, axes(parts))


def axes(parts: LayerAdaptation) -> LayerAdaptation:
    """Logical axis names of every leaf, with ``layers`` in front where L leads."""

    def of_part(path: tuple[Any, ...], part: Part) -> Part:
        names = {}
        for field, own in _axes(part, path[-1]).items():
            array = getattr(part, field)
            if array is not None:
                names[field] = (LAYERS,) * (array.ndim - len(own)) + own
        return part.replace(**names)

    return jax.tree_util.tree_map_with_path(of_part, parts, is_leaf=is_part)


def _axes(part: Part, key: Any) -> dict[str, tuple[str, ...]]:
    """Names of a part's arrays; `key` leads to it: its projection, where it has one."""
    if isinstance(part, LowRank):
        read, written = PROJECTIONS[key.key]
        return {"a": (GROUPS, RANK, read), "b": (GROUPS, RANK, written)}
    if isinstance(part, Scale):
        return {"factor": (GROUPS, SCALED[key.key])}
    return part.AXES
