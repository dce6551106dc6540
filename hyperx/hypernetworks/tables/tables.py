"""Tables: generated weights that are parameters themselves, looked up by task.

There is one set of weights for all tasks, or one for each. What they are made of is
said by a part table, see `hyperx.hypernetworks.tables.parts`.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes
from hyperx.adaptation import LayerAdaptation
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.tables.parts import ATTENTIONS, PartTable, Rows

Stack = Literal["encoder", "decoder"]

ATTENTION_SITES = {"encoder": ATTENTIONS[:1], "decoder": ATTENTIONS}
SITES = {stack: (*sites, "mlp") for stack, sites in ATTENTION_SITES.items()}

Arrays = dict[str, jax.Array]


class Table(nn.Module):
    """The weights of one stack.

    The arrays of all tasks lie below each other, a matrix for every layer: ``[L, rows,
    width]``, where an array that is a vector is one row.

    Attributes:
        config: of the backbone.
        stack: encoder or decoder.
        part: what is looked up.
        tasks: how many tasks have weights of their own; 0 if all share them.
    """

    config: T5Config
    stack: Stack
    part: PartTable
    tasks: int = 0

    @nn.compact
    def __call__(self, numbers: jax.Array | None) -> Emission:
        """The emission of tasks with numbers ``[G]``; None where all share weights."""
        if self.tasks and numbers is None:
            raise ValueError(f"expected numbers of {self.tasks} tasks, got none")
        layers = {
            site: {
                table.name: self._declare(site, table)
                for table in self.part.tables(self.config, site)
            }
            for site in SITES[self.stack]
        }
        numbers = numbers if self.tasks else None
        emit = _Emit(self.config, self.part)
        return Emission.of(emit, shared=numbers, layers=layers)

    def _declare(self, site: str, table: Rows) -> jax.Array:
        """The rows of all layers and tasks."""
        layers = getattr(self.config, f"num_{self.stack}_layers")
        rows = max(self.tasks, 1) * max(table.rows, 1)
        init = boxed(table.init, axes.LAYERS, *table.names)
        return self.param(f"{site}_{table.name}", init, (layers, rows, table.width))


@dataclasses.dataclass(frozen=True)
class _Emit:
    """Looks up one layer; static configuration only, so that jit can cache."""

    config: T5Config
    part: PartTable

    def __call__(
        self, numbers: jax.Array | None, layer: dict[str, Arrays]
    ) -> LayerAdaptation:
        sites = {}
        for site, arrays in layer.items():
            found = {
                table.name: self._look_up(table, arrays[table.name], numbers)
                for table in self.part.tables(self.config, site)
            }
            sites[site] = self.part.build(found, self.config)
        return adaptation.constrain(LayerAdaptation(**sites))

    def _look_up(
        self, table: Rows, array: jax.Array, numbers: jax.Array | None
    ) -> jax.Array:
        """The array of each group ``[G, ...]``, or of all ``[1, ...]``."""
        if table.rows:
            array = array.reshape(-1, table.rows, table.width)
        if numbers is not None:
            array = jnp.take(array, numbers, axis=0)
        return array.astype(self.config.dtype)
