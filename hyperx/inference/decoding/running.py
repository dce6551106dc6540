"""Decoding under way: what is kept from one token to the next."""

import jax
import jax.numpy as jnp
from flax import struct

from hyperx.backbone.steps import Caches, Steps
from hyperx.backbone.t5 import EOS, PAD
from hyperx.inference.decoding.requests import Requests


@struct.dataclass
class Running:
    """W hypotheses of every row, all as long as each other but for those that ended.

    Attributes:
        position: of the next token; a scalar.
        tokens: written so far, ``[G, R, W, T]``, EOS included, padded after it.
        lengths: number of tokens written, ``[G, R, W]``.
        scores: their log-probability ``[G, R, W]`` in nats.
        done: hypotheses that ended, ``[G, R, W]``.
        caches: of decoder self-attention.
        ancestors: ``[G, R, W, T]``, which hypothesis of its time wrote a position of
            this one. Where beams change places this does, and their keys and values
            stay where they are. None for a single hypothesis.
        keys: random keys ``[G, R, W]`` of sampling.
        requests: of the rows.
        steps: what all steps read.
        beam: whether hypotheses compete.
    """

    position: jax.Array
    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array
    done: jax.Array
    caches: Caches
    ancestors: jax.Array | None
    keys: jax.Array
    requests: Requests
    steps: Steps
    beam: bool = struct.field(pytree_node=False)

    @property
    def last(self) -> jax.Array:
        """The tokens ``[G, R, W]`` before `position`; PAD is T5's first."""
        before = jnp.maximum(self.position - 1, 0)
        return jax.lax.dynamic_index_in_dim(self.tokens, before, axis=3, keepdims=False)

    def mask(self) -> jax.Array | None:
        """Which keys of the cache each hypothesis sees, ``[G, R, W, T * W]``."""
        if self.ancestors is None:
            return None
        hypotheses = self.tokens.shape[2]
        own = jnp.arange(hypotheses).reshape(1, 1, 1, 1, -1)
        mask = self._with_own()[..., None] == own
        return mask.reshape(*mask.shape[:3], -1)

    def extended(
        self, tokens: jax.Array, scores: jax.Array, parents: jax.Array | None = None
    ) -> "Running":
        """One token later.

        Args:
            tokens: to write ``[G, R, W]``; not of hypotheses that ended.
            scores: log-probabilities ``[G, R, W]`` with them.
            parents: which hypotheses these continue, ``[G, R, W]``; None if each
                continues itself.
        """
        run = self if parents is None else self._reordered(parents)
        tokens = jnp.where(run.done, PAD, tokens)
        lengths = run.lengths + ~run.done
        limit = run.requests.limit[..., None]
        write = jax.lax.dynamic_update_index_in_dim
        return run.replace(
            position=run.position + 1,
            tokens=write(run.tokens, tokens, run.position, axis=3),
            lengths=lengths,
            scores=scores,
            done=run.done | (tokens == EOS) | (lengths >= limit),
        )

    def _reordered(self, parents: jax.Array) -> "Running":
        def of_parents(x: jax.Array) -> jax.Array:
            index = jax.lax.expand_dims(parents, range(3, x.ndim))
            return jnp.take_along_axis(x, index, axis=2)

        ancestors = self.ancestors
        return self.replace(
            tokens=of_parents(self.tokens),
            lengths=of_parents(self.lengths),
            done=of_parents(self.done),
            ancestors=None if ancestors is None else of_parents(self._with_own()),
        )

    def _with_own(self) -> jax.Array:
        """`ancestors`; at the position of `last`, which is being read, each its own."""
        _, _, hypotheses, length = self.ancestors.shape
        own = jnp.arange(hypotheses).reshape(1, 1, -1, 1)
        here = jnp.arange(length).reshape(1, 1, 1, -1) == self.position
        return jnp.where(here, own, self.ancestors)
