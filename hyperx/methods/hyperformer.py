"""HyperFormer and HyperFormer++ (Karimi Mahabadi et al., ACL 2021).

Adapters behind the self-attention and the feed-forward layer of every block, written
from a learned embedding of the task. The backbone is frozen but for the scales of its
normalisations, and reads the inputs without a word of which task it is.

NOTE: the published code writes adapters for one task at a time; here the tasks of a
batch may differ.
"""

import dataclasses
from typing import ClassVar

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.tasks import TaskEmbedding
from hyperx.hypernetworks.generators.sublayers import (
    SublayerGenerator,
    SublayerGeneratorConfig,
)
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads, check_reads, names_of

_REDUCTION = 32  # model width to bottleneck in the published configurations


@dataclasses.dataclass(frozen=True, kw_only=True)
class HyperFormer(Method):
    """HyperFormer++, and HyperFormer with hypernetworks for every sub-layer.

    Attributes:
        tasks: names of the tasks.
        bottleneck: of the adapters; a 32nd of the model width, but at least 8, if None.
        shared_across_layers: one set of hypernetworks for a stack, told the layer and
            the position: HyperFormer++. Otherwise every sub-layer has its own, which
            read the task's embedding itself: HyperFormer.
        task_width: of the embeddings of tasks, layers and positions (t).
        mlp_width: hidden width of the network that joins the three (e); HyperFormer++
            only.
        identity_start: start as the plain backbone. As published, every adapter starts
            by adding a vector of about a tenth of unit scale, whatever it reads.
    """

    reads: ClassVar[Reads] = "task"

    tasks: tuple[str, ...] = ()
    bottleneck: int | None = None
    shared_across_layers: bool = True
    task_width: int = 64
    mlp_width: int = 128
    identity_start: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", names_of(self.tasks))
        check_reads(self.reads, ("task",), self.tasks)
        if self.bottleneck is not None and self.bottleneck < 1:
            raise ValueError(
                f"expected a bottleneck of at least 1, or None, got {self.bottleneck}"
            )

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The embeddings of tasks, and the hypernetworks of both stacks."""
        bottleneck = self.bottleneck
        if bottleneck is None:
            bottleneck = max(backbone.embed_dim // _REDUCTION, 8)
        generator = SublayerGeneratorConfig(
            backbone=backbone,
            bottleneck=bottleneck,
            width=self.task_width,
            mlp_width=self.mlp_width,
            shared_across_layers=self.shared_across_layers,
            identity_start=self.identity_start,
        )
        conditioner = TaskEmbedding(len(self.tasks), self.task_width)
        return Hypernetwork(conditioner, SublayerGenerator(generator))
