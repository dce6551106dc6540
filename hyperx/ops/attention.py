"""Attention over several sources of keys and values without joining or copying them.

A query attends to *segments*: its own layer's positions, a generated prefix, the fused
memory of its group. A segment shared by all rows of a group has no row axis and is read
in place. Scores of all segments meet in one softmax.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import struct

from hyperx.adaptation import Prefix

# Finite, so that a row without a single visible position yields numbers, not NaN.
MASKED = -1e10


@struct.dataclass
class Segment:
    """One source of keys and values.

    Attributes:
        key: ``[G, R, S, H, K]``, or ``[G, S, H, K]`` if the rows of a group share it.
            G is 1 where all groups share it.
        value: as `key`.
        mask: ``[G, R, S]`` or ``[G, S]``, True where a position is visible, or
            ``[G, R, T, S]`` where that depends on the query; all are, if None.
        bias: ``[G, R, H, T, S]`` with 1 for any of these, added to the scores, or None.
        length_last: whether keys and values are ``[G, R, H, K, S]`` or
            ``[G, H, K, S]`` instead: what is read once per token is not rearranged
            for it then.
    """

    key: jax.Array
    value: jax.Array
    mask: jax.Array | None = None
    bias: jax.Array | None = None
    length_last: bool = struct.field(pytree_node=False, default=False)

    def with_length_last(self) -> "Segment":
        """The same, rearranged to be read often."""
        key, value = (jnp.moveaxis(x, -3, -1) for x in (self.key, self.value))
        return self.replace(key=key, value=value, length_last=True)

    @property
    def axes(self) -> str:
        """The letters of the axes of `key` and `value`."""
        rows = "R" if self.key.ndim == 5 else ""
        return f"G{rows}HKS" if self.length_last else f"G{rows}SHK"


def prefix(part: Prefix | None) -> tuple[Segment, ...]:
    """The segment of a generated prefix: always visible, without position; or none."""
    if part is None:
        return ()
    bias = None if part.gate is None else part.gate[:, None, :, None, None]
    return (Segment(part.key, part.value, bias=bias),)


def attend(
    query: jax.Array,
    segments: Sequence[Segment],
    dropout: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """Multi-head attention, softmax in float32.

    NOTE: scores are not divided by ``sqrt(K)``; T5 folds that factor into the
    initialisation of its query kernels (Raffel et al. 2020).

    Args:
        query: ``[G, R, T, H, K]``.
        segments: at least one source; the positions of all share one softmax.
        dropout: applied to the attention weights ``[G, R, H, T, S]``.

    Returns:
        ``[G, R, T, H, K]`` in the dtype of `query`.
    """
    scores = [_scores(query, segment) for segment in segments]
    joined = scores[0] if len(scores) == 1 else jnp.concatenate(scores, axis=-1)
    weights = dropout(softmax(joined).astype(query.dtype))
    out, start = 0.0, 0
    for segment, score in zip(segments, scores, strict=True):
        part = jax.lax.slice_in_dim(weights, start, start + score.shape[-1], axis=-1)
        # Heads first, as in the weights: else XLA may rearrange those, not the result.
        out = out + jnp.einsum(f"GRHTS,{segment.axes}->GRHTK", part, segment.value)
        start += score.shape[-1]
    return jnp.swapaxes(out, 2, 3)


@jax.custom_jvp
def softmax(scores: jax.Array) -> jax.Array:
    """Softmax over the last axis, differentiated by its result alone.

    Derivatives of its parts would read, and for the backward pass keep, exponentials
    and their sums besides.
    """
    return jax.nn.softmax(scores, axis=-1)


@softmax.defjvp
def _softmax_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    weights, (change,) = softmax(*primals), tangents
    mean = jnp.sum(weights * change, axis=-1, keepdims=True)
    return weights, weights * (change - mean)


def _scores(query: jax.Array, segment: Segment) -> jax.Array:
    """Scores ``[G, R, H, T, S]`` in float32."""
    scores = jnp.einsum(
        f"GRTHK,{segment.axes}->GRHTS",
        query,
        segment.key,
        preferred_element_type=jnp.float32,
    )
    if segment.bias is not None:
        scores = scores + segment.bias.astype(jnp.float32)
    if segment.mask is not None:
        mask = segment.mask[:, None] if segment.mask.ndim == 2 else segment.mask
        mask = mask[:, :, None] if mask.ndim == 3 else mask
        scores = jnp.where(mask[:, :, None], scores, MASKED)
    return scores
