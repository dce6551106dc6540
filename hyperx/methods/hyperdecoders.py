"""Hyperdecoders (Ivison and Peters, Findings of EMNLP 2022).

Adapters beside the feed-forward layers: those of the encoder are trained as they are,
those of the decoder are written for every single input, by a hypernetwork that reads
the mean of what the encoder made of it. The backbone stays frozen. The paper's grid of
ablations lets each stack have either kind, or others.
"""

import dataclasses
from typing import Literal, get_args

import flax.linen as nn

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.tasks import TaskNumber
from hyperx.hypernetworks.generators.instances import InstanceHypernetwork, PooledReader
from hyperx.hypernetworks.generators.layers import LayerGenerator
from hyperx.hypernetworks.generators.stacks import StackGenerators, TaskReader
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.hypernetworks.tables.parts import AdapterTable
from hyperx.hypernetworks.tables.tables import Table
from hyperx.methods.method import Method, Reads, check_reads, names_of

Mode = Literal["none", "manual", "manual_specific", "task", "generated"]
_OF_TASKS = ("manual_specific", "task")
_STACKS = ("encoder", "decoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperdecoders(Method):
    """Hyperdecoders and its ablations: where each stack's adapters come from.

    With both stacks ``generated``, the decoder's adapters are written from the second
    reading of the input.

    Attributes:
        reads: ``prompt`` or ``inputs``; ``task`` where a stack's adapters are those of
            the task.
        tasks: names of the tasks, where they are read.
        encoder: adapters of the encoder. ``none``; ``manual``: parameters, the same
            for all inputs; ``manual_specific``: parameters of each task; ``task``:
            written for the task; ``generated``: written for the input, which an
            encoder with manual adapters has read before.
        decoder: adapters of the decoder, as for `encoder`.
        encoder_bottleneck: of the encoder's adapters.
        decoder_bottleneck: of the decoder's adapters.
        hidden: width of the hypernetwork's hidden layer.
        pooled_mlp: whether the mean of the encoding passes an MLP before the
            hypernetwork reads it.
        normalized_input: whether adapters read what the feed-forward layer reads; if
            not, the residual stream before its normalisation.
    """

    reads: Reads = "prompt"
    tasks: tuple[str, ...] = ()
    encoder: Mode = "manual"
    decoder: Mode = "generated"
    encoder_bottleneck: int = 64
    decoder_bottleneck: int = 64
    hidden: int = 128
    pooled_mlp: bool = True
    normalized_input: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", names_of(self.tasks))
        modes = {stack: getattr(self, stack) for stack in _STACKS}
        for stack, mode in modes.items():
            if mode not in get_args(Mode):
                raise ValueError(
                    f"expected {stack} to be one of {get_args(Mode)}, got {mode!r}"
                )
        if set(modes.values()) == {"none"}:
            raise ValueError("expected an adapted encoder or decoder, got none of both")
        of_tasks = any(mode in _OF_TASKS for mode in modes.values())
        allowed = ("task",) if of_tasks else ("prompt", "inputs")
        check_reads(self.reads, allowed, self.tasks)

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """What is trained or written before inputs are seen, and what reads them."""
        before = {stack: self._before(backbone, stack) for stack in _STACKS}
        readers = {
            stack: PooledReader(self._generator(backbone, stack), self.pooled_mlp)
            for stack in _STACKS
            if getattr(self, stack) == "generated"
        }
        return Hypernetwork(
            conditioner=TaskNumber() if self.reads == "task" else None,
            generator=StackGenerators(**before) if any(before.values()) else None,
            instance=InstanceHypernetwork(**readers) if readers else None,
        )

    def _before(self, backbone: T5Config, stack: str) -> nn.Module | None:
        """What adapts a stack as long as inputs are not seen."""
        match getattr(self, stack):
            case "none":
                return None
            case "task":
                generator = self._generator(backbone, stack)
                return TaskReader(len(self.tasks), backbone.embed_dim, generator)
            case "manual_specific":
                return self._table(backbone, stack, len(self.tasks))
            case "generated" if stack == "decoder":
                return None
        return self._table(backbone, stack)

    def _table(self, backbone: T5Config, stack: str, tasks: int = 0) -> Table:
        """Adapters of one stack that are parameters, perhaps of each task."""
        part = AdapterTable(
            bottleneck=getattr(self, f"{stack}_bottleneck"),
            activation="relu",
            placement=self._placement,
            start="xavier",
        )
        return Table(backbone, stack, part, tasks)

    def _generator(self, backbone: T5Config, stack: str) -> LayerGenerator:
        """The hypernetwork of one stack."""
        return LayerGenerator(
            backbone,
            getattr(backbone, f"num_{stack}_layers"),
            getattr(self, f"{stack}_bottleneck"),
            self.hidden,
            placement=self._placement,
        )

    @property
    def _placement(self) -> str:
        return "parallel" if self.normalized_input else "residual"
