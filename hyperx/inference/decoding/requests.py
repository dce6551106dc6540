"""Requests: what each row wants. Arrays, so that no wish compiles anything anew."""

import jax
import numpy as np
from flax import struct

from hyperx.inference.decoding.strategies import Beam, Sample, Strategy

# More tokens than any vocabulary has.
ALL = np.iinfo(np.int32).max


@struct.dataclass
class Requests:
    """The wishes of rows ``[G, R]``, or of a single one ``[]``.

    Attributes:
        limit: most new tokens, EOS included.
        returned: how many outputs, the best of a beam search, are wanted.
        seed: of sampling. What is drawn depends on it, on the input and on the number
            of the sample, not on other rows.
        temperature: of sampling; 0 for greedy decoding and beam search.
        top_k: of sampling; `ALL` for all.
        top_p: of sampling; 1 for all.
        length_penalty: of beam search.
    """

    limit: jax.Array | np.ndarray
    returned: jax.Array | np.ndarray
    seed: jax.Array | np.ndarray
    temperature: jax.Array | np.ndarray
    top_k: jax.Array | np.ndarray
    top_p: jax.Array | np.ndarray
    length_penalty: jax.Array | np.ndarray

    @classmethod
    def of(
        cls, strategy: Strategy, limit: int, *, returned: int = 1, seed: int = 0
    ) -> "Requests":
        """A single row's.

        Args:
            strategy: how its output is chosen.
            limit: most new tokens.
            returned: how many outputs are wanted.
            seed: of sampling, modulo 2^32.

        Raises:
            ValueError: if `limit` is no positive number, or `strategy` does not give so
                many outputs.
        """
        if limit < 1:
            raise ValueError(f"expected at least 1 new token, got {limit}")
        strategy.shape(limit, returned)
        sample = Sample(temperature=0.0)
        if isinstance(strategy, Sample):
            sample = strategy
        alpha = strategy.length_penalty if isinstance(strategy, Beam) else 0.0
        return cls(
            limit=np.int32(limit),
            returned=np.int32(returned),
            seed=np.uint32(seed % 2**32),
            temperature=np.float32(sample.temperature),
            top_k=np.int32(min(sample.top_k or ALL, ALL)),
            top_p=np.float32(1.0 if sample.top_p is None else sample.top_p),
            length_penalty=np.float32(alpha),
        )

    def full(self, *shape: int) -> "Requests":
        """The same for all rows of a grid."""
        return jax.tree.map(lambda leaf: np.broadcast_to(leaf, shape), self)
