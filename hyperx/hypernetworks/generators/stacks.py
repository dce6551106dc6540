"""Generators that are composed: one for each stack, one that keeps a table of tasks."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.backbone.layers import boxed
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning


class StackGenerators(nn.Module):
    """What is written for a code, each stack by a generator of its own.

    Attributes:
        encoder: module ``(code) -> Emission``, or None where nothing is written.
        decoder: as `encoder`.
    """

    encoder: nn.Module | None = None
    decoder: nn.Module | None = None

    def __call__(self, code: jax.Array | None) -> Conditioning:
        """Emissions of encoder and decoder."""
        stacks = {"encoder": self.encoder, "decoder": self.decoder}
        return Conditioning(
            **{name: write(code) for name, write in stacks.items() if write is not None}
        )


class TaskReader(nn.Module):
    """Writes one stack's weights from a learned vector for each task.

    Attributes:
        tasks: how many there are.
        width: of a vector.
        generator: module ``(code [G, width]) -> Emission``.
    """

    tasks: int
    width: int
    generator: nn.Module

    @nn.compact
    def __call__(self, numbers: jax.Array) -> Emission:
        """The emission for tasks with numbers ``[G]``."""
        init = boxed(nn.initializers.normal(1.0), axes.TASKS, axes.EMBED)
        table = self.param("table", init, (self.tasks, self.width))
        return self.generator(jnp.take(table, numbers, axis=0))
