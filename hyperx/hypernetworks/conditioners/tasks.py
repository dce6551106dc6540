"""Conditioners that read the number of a task."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.backbone.layers import boxed
from hyperx.backbone.t5 import T5


class TaskEmbedding(nn.Module):
    """A learned vector for each task that is known.

    Attributes:
        tasks: how many.
        width: of a vector.
        stddev: of the initial vectors.
    """

    tasks: int
    width: int
    stddev: float = 1.0

    @nn.compact
    def __call__(self, tokens: jax.Array, backbone: T5) -> jax.Array:
        """The vectors ``[G, width]`` of tasks with numbers ``[G, 1]``."""
        del backbone
        table = self.param(
            "embedding",
            boxed(nn.initializers.normal(self.stddev), axes.TASKS, axes.EMBED),
            (self.tasks, self.width),
        )
        return jnp.take(table, tokens[:, 0], axis=0)


class TaskNumber(nn.Module):
    """The number of each group's task, for generators that keep tables of tasks."""

    def __call__(self, tokens: jax.Array, backbone: T5) -> jax.Array:
        """The numbers ``[G]`` in tokens ``[G, 1]``."""
        del backbone
        return tokens[:, 0]
