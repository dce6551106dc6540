"""Distillation: what a model says that reads the condition with every input.

The teacher is a trained model whose backbone reads condition and input in one text; the
student reads the condition with its hypernetwork. As in TAGI (Liao et al., NeurIPS
2024) and MEND (Li et al., ICLR 2024), what it expects of every next token is drawn
towards what the teacher expects.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from hyperx.model import ModelConfig
from hyperx.objectives.objective import Forward, Objective, Teacher
from hyperx.ops import losses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(Objective):
    """KL(teacher || student) of every target token.

    Attributes:
        teacher: directory of a model that reads prompts, in the same vocabulary.
        temperature: see `hyperx.ops.losses.kl_divergence`.
    """

    name: ClassVar[str] = "distillation"
    features: ClassVar[tuple[str, ...]] = ("prompt",)

    teacher: str = dataclasses.field()
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {self.temperature}")

    def check(self, config: ModelConfig, teacher: ModelConfig | None) -> None:
        """Checks that the teacher reads prompts and knows the same tokens."""
        if teacher.method.reads != "prompt":
            raise ValueError(
                f"expected a teacher that reads prompts in {self.teacher}, got one "
                f"that reads {teacher.method.reads!r}"
            )
        if teacher.backbone.vocab_size != config.backbone.vocab_size:
            raise ValueError(
                f"expected a teacher with VOCAB_SIZE {config.backbone.vocab_size} in "
                f"{self.teacher}, got {teacher.backbone.vocab_size}"
            )

    def total(self, forward: Forward, teacher: Teacher | None) -> jax.Array:
        """Divergence summed over target tokens; the teacher reads ``prompt_tokens``."""
        batch = forward.batch
        seen = {
            "encoder_tokens": batch["prompt_tokens"],
            "decoder_input_tokens": batch["decoder_input_tokens"],
        }
        logits = teacher.config.build().apply({"params": teacher.params}, seen)
        divergence = losses.kl_divergence(
            logits, forward.logits, temperature=self.temperature
        )
        return jnp.sum(divergence * batch["decoder_loss_weights"])
