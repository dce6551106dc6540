"""Stages of one example, computed with a kept state and in the other ways."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from hyperx.config import T5Config
from hyperx.costs import analytic
from hyperx.costs.analytic import Weights, Work
from hyperx.costs.stages import PARAMETER, Alternative, Stage, Use
from hyperx.task_state import TaskState


def nbytes(tree: Any) -> int:
    """Bytes of a tree of shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples of a task for a T5 under generated weights.

    Attributes:
        backbone: the T5.
        use: how it is used; its inputs are all that the backbone reads.
        state: shapes of one condition's state; an empty one for a plain T5.
    """

    backbone: T5Config
    use: Use
    state: TaskState = dataclasses.field(default_factory=TaskState)

    @property
    def sources(self) -> int:
        """Positions that an input has in the encoder."""
        prompt = self.state.prompt
        return self.use.inputs + (0 if prompt is None else prompt.shape[-2])

    @property
    def fused(self) -> int:
        """Positions of the fused condition."""
        memory = self.state.memory
        return 0 if memory is None else memory.mask.shape[-1]

    @property
    def shared_row(self) -> int:
        """Bytes held per input where weights and memory are shared."""
        return self._cached * (self.sources + self.use.beams * self.use.targets)

    @property
    def copied_row(self) -> int:
        """Bytes held per input where every beam has copies of its own."""
        generated = nbytes((self.state.encoder, self.state.decoder))
        own = generated + self._hidden + self._cached * self.use.targets
        return self.use.beams * own

    def shared(self) -> dict[str, Stage]:
        """Weights and memory are shared by rows and beams; inputs are projected once.

        In a stage's bytes, what rows share is divided among them.
        """
        use, sources = self.use, self.sources
        step = self._step + nbytes((self.state.decoder, self.state.memory))
        cache = use.beams * (use.targets + 1) * self._cached
        generated = nbytes(self.state.encoder)
        return {
            "encode input": Stage(
                self._encode(), (self._encoder + generated) / use.rows
            ),
            "project input": Stage(
                self.project(sources),
                self._projections / use.rows + sources * self._cached,
            ),
            "decode": Stage(
                # Beams are further queries, which score the keys of all beams.
                self._decode(use.beams * use.targets),
                use.targets * (step / use.rows + sources * self._cached + cache),
            ),
        }

    def copied(self) -> dict[str, Stage]:
        """Rows and beams have weights of their own; all is projected at every step."""
        use, attended = self.use, self.sources + self.fused
        steps = use.targets * use.beams
        keys_values = attended * self._cached
        cache = (use.targets + 1) * self._cached
        own = nbytes(self.state.decoder) + keys_values + cache
        return {
            "encode input": Stage(
                self._encode(),
                self._encoder / use.rows + nbytes(self.state.encoder),
            ),
            "project at every step": Stage(
                steps * self.project(attended),
                use.targets * self._projections / use.rows
                + steps * (self._hidden + keys_values),
            ),
            "decode": Stage(
                use.beams * self._decode(use.targets),
                use.targets * self._step / use.rows + steps * own,
            ),
        }

    def project(self, tokens: int) -> Work:
        """Keys and values for the adapted decoder's cross-attentions."""
        adapted = analytic.applied(self.state.decoder, 0, sources=tokens)
        return analytic.project(self.backbone, tokens) + adapted

    def _encode(self) -> Work:
        adapted = analytic.applied(self.state.encoder, self.sources)
        return analytic.encoder(self.backbone, self.sources) + adapted

    def _decode(self, tokens: int) -> Work:
        sources = self.sources + self.fused
        adapted = analytic.applied(self.state.decoder, tokens)
        return analytic.decoder(self.backbone, tokens, sources) + adapted

    @property
    def _encoder(self) -> int:
        """Bytes of the encoder's weights."""
        return PARAMETER * Weights.of(self.backbone).encoder(self.backbone)

    @property
    def _projections(self) -> int:
        """Bytes of the weights that make keys and values of sources."""
        return PARAMETER * Weights.of(self.backbone).cross_projections(self.backbone)

    @property
    def _step(self) -> int:
        """Bytes of the weights that a decoding step reads.

        Layers are cast to the dtype of the computation beforehand; the head is not.
        """
        own = Weights.of(self.backbone)
        layers = own.decoder(self.backbone) - own.cross_projections(self.backbone)
        return itemsize(self.backbone) * layers + PARAMETER * own.table

    @property
    def _cached(self) -> int:
        """Bytes of one position's keys and values in all decoder layers."""
        layers = self.backbone.num_decoder_layers
        return 2 * layers * self.backbone.joined_heads * itemsize(self.backbone)

    @property
    def _hidden(self) -> int:
        """Bytes of what the decoder attends to, before it is projected."""
        attended = self.sources + self.fused
        return attended * self.backbone.embed_dim * itemsize(self.backbone)


def itemsize(backbone: T5Config) -> int:
    """Bytes of an activation, or of a generated number."""
    return jnp.dtype(backbone.dtype).itemsize


def concatenation(backbone: T5Config, use: Use) -> Alternative:
    """A plain T5 that reads the condition before every input."""
    joined = dataclasses.replace(use, inputs=use.condition + use.inputs)
    examples = Examples(backbone, joined)
    return Alternative(
        once={},
        each=examples.shared(),
        parameters=PARAMETER * Weights.of(backbone).total(backbone),
        task=0,
        row=examples.shared_row,
    )


def decoder_only_layers(backbone: T5Config) -> float:
    """How many layers of one attention have the weights of both stacks."""
    own = Weights.of(backbone)
    both = own.encoder(backbone) + own.decoder(backbone)
    return both / (own.attention + own.mlp)


def decoder_only(backbone: T5Config, use: Use) -> Alternative:
    """A decoder-only model with as many weights, and the condition in its cache.

    NOTE: scores of later positions count, as where a mask hides them.
    """
    own, layers = Weights.of(backbone), decoder_only_layers(backbone)
    blocks = layers * (own.attention + own.mlp)
    cached = layers * 2 * backbone.joined_heads * itemsize(backbone)

    def work(tokens: int, seen: int) -> Work:
        pairs = layers * tokens * seen * backbone.joined_heads
        return Work(2 * tokens * blocks, 4 * pairs)

    shared, inputs, targets = use.condition, use.inputs, use.targets
    read = PARAMETER * blocks + shared * cached
    step = itemsize(backbone) * blocks + PARAMETER * own.table + shared * cached
    step = step / use.rows + (inputs + use.beams * (targets + 1)) * cached
    decode = work(targets, shared + inputs + targets) + Work(2 * targets * own.table)
    return Alternative(
        once={"encode condition": Stage(work(shared, shared), read)},
        each={
            "encode input": Stage(
                work(inputs, shared + inputs), read / use.rows + inputs * cached
            ),
            "decode": Stage(use.beams * decode, targets * step),
        },
        parameters=PARAMETER * Weights.of(backbone).total(backbone),
        task=shared * cached,
        row=cached * (inputs + use.beams * targets),
    )
