"""Prompt tuning (Lester et al., EMNLP 2021): learned embeddings before every input.

They are encoded with the input, so that they have positions and the decoder attends to
what becomes of them. The backbone is frozen.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import axes
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.tasks import TaskNumber
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.of_tables import TableMethod


class PromptTable(nn.Module):
    """Prompts of all tasks together, or of each.

    Attributes:
        config: of the backbone.
        length: of a prompt (P).
        tasks: how many tasks have one of their own; 0 if all share it.
    """

    config: T5Config
    length: int
    tasks: int = 0

    @nn.compact
    def __call__(self, numbers: jax.Array | None) -> Conditioning:
        """The prompts of tasks with numbers ``[G]``; None where all share one."""
        embed = self.config.embed_dim

        def init(key: jax.Array, shape: tuple[int, ...], dtype: str = "float32"):
            return jax.random.uniform(key, shape, dtype, -0.5, 0.5)

        shape = (max(self.tasks, 1) * self.length, embed)
        table = self.param("prompt", boxed(init, axes.PREFIX, axes.EMBED), shape)
        prompts = table.reshape(-1, self.length, embed)
        if numbers is not None:
            prompts = jnp.take(prompts, numbers, axis=0)
        return Conditioning(prompt=prompts.astype(self.config.dtype))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTuning(TableMethod):
    """Prompt tuning.

    Attributes:
        length: of the prompt, in embeddings.
    """

    length: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"expected a length of at least 1, got {self.length}")

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The table of prompts."""
        return Hypernetwork(
            conditioner=TaskNumber() if self.reads == "task" else None,
            generator=PromptTable(backbone, self.length, self.task_count),
        )
