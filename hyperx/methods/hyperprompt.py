"""HyperPrompt: task-conditioned prompts (He et al., ICML 2022).

Every self-attention attends to a few more keys and values, which depend on task and
layer and are written by small networks from one table of prompts per task. The backbone
is trained with them. There is no published code.
"""

import dataclasses
from typing import ClassVar, get_args

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.tasks import TaskNumber
from hyperx.hypernetworks.generators.prompts import (
    PromptGenerator,
    PromptGeneratorConfig,
    Variant,
)
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads, check_reads, names_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class HyperPrompt(Method):
    """HyperPrompt-Global, and its simpler variants Share and Sep.

    NOTE: whether the paper's stacks share embeddings and hypernetworks is not known;
    here each has its own. Its widths t' and e are not known either.

    Attributes:
        tasks: names of the tasks.
        variant: of `hyperx.hypernetworks.generators.prompts`.
        encoder_length: prompts of an encoder layer; 0 for none.
        decoder_length: prompts of a decoder layer; 0 for none.
        bottleneck: of the local networks; a 32nd of the model width, but at least 8,
            if None.
        task_width: of layer-aware task embeddings (t); Global only, as all below.
        raw_width: of the embeddings of tasks and layers (t').
        mlp_width: hidden width of the network that joins them (e).
        normalized_code: whether layer-aware task embeddings are normalised.
        head_bias: whether the global hypernetworks have biases.
    """

    reads: ClassVar[Reads] = "task"

    tasks: tuple[str, ...] = ()
    variant: Variant = "global"
    encoder_length: int = 16
    decoder_length: int = 6
    bottleneck: int | None = None
    task_width: int = 64
    raw_width: int = 64
    mlp_width: int = 64
    normalized_code: bool = True
    head_bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", names_of(self.tasks))
        check_reads(self.reads, ("task",), self.tasks)
        if self.variant not in get_args(Variant):
            raise ValueError(
                f"expected variant to be one of {get_args(Variant)}, "
                f"got {self.variant!r}"
            )
        lengths = (self.encoder_length, self.decoder_length)
        if min(lengths) < 0 or not any(lengths):
            raise ValueError(
                "expected prompts in the encoder, the decoder or both, got lengths "
                f"{lengths}"
            )
        if self.bottleneck is not None and self.bottleneck < 1:
            raise ValueError(
                f"expected a bottleneck of at least 1, or None, got {self.bottleneck}"
            )

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The tables and networks of both stacks, read by the task's number."""
        generator = PromptGeneratorConfig(
            backbone=backbone,
            variant=self.variant,
            tasks=len(self.tasks),
            encoder_length=self.encoder_length,
            decoder_length=self.decoder_length,
            bottleneck=self.bottleneck or max(backbone.embed_dim // 32, 8),
            task_width=self.task_width,
            raw_width=self.raw_width,
            mlp_width=self.mlp_width,
            normalized_code=self.normalized_code,
            head_bias=self.head_bias,
        )
        return Hypernetwork(TaskNumber(), PromptGenerator(generator))
