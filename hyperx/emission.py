"""Emission: how a stack of layers receives its generated weights.

A stack calls ``emission.emit(layer)`` inside its scanned block, with one layer's slice
of ``emission.layers``, and applies the `LayerAdaptation` that it returns. Whether a
generator runs inside that call, or the weights were generated before, or there are
none, is decided by whoever built the emission; a block cannot tell.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct
from jax.tree_util import Partial

from hyperx.adaptation import LayerAdaptation


@struct.dataclass
class Emission:
    """A pure function of one layer's arrays, and those arrays for all layers.

    Attributes:
        emit: maps one slice of `layers` to that layer's `LayerAdaptation`.
        layers: tree of arrays ``[L, ...]``, scanned together with the blocks.
    """

    emit: Partial
    layers: Any

    @classmethod
    def of(cls, fn: Callable, *, shared: Any, layers: Any) -> "Emission":
        """Emission of a generator.

        Args:
            fn: ``fn(shared, layer) -> LayerAdaptation``. A module-level function or a
                hashable frozen dataclass: its identity is part of jit's cache key.
                It casts `shared` and constrains what it returns inside the call:
                gradients of broadcast arguments accumulate in their own dtype.
            shared: tree of arrays that every layer reads.
            layers: tree of arrays ``[L, ...]``.
        """
        return cls(Partial(fn, shared), layers)

    @classmethod
    def nothing(cls) -> "Emission":
        """Emission of a plain stack: no layer is adapted."""
        return cls.of(_no_parts, shared=None, layers=None)

    @classmethod
    def precomputed(cls, parts: LayerAdaptation) -> "Emission":
        """Emission of weights that exist already.

        Args:
            parts: generated weights with leading axis L on every leaf.
        """
        return cls.of(_as_they_are, shared=None, layers=parts)

    def materialize(self) -> LayerAdaptation:
        """Generates every layer's weights at once.

        Returns:
            The parts of all layers, with leading axis L on every leaf; equal to what
            the stack would be given layer by layer.
        """
        if not jax.tree.leaves(self.layers):
            return self.emit(self.layers)
        return jax.lax.map(self.emit, self.layers)


def _no_parts(shared: None, layer: None) -> LayerAdaptation:
    del shared, layer
    return LayerAdaptation()


def _as_they_are(shared: None, layer: LayerAdaptation) -> LayerAdaptation:
    del shared
    return layer
