"""HyperTuning with HyperT5-Prefix and HyperT5-LoRA (Phang et al., ICML 2023).

A second T5, started from the backbone's checkpoint and no longer tied to it, reads a
few examples; its decoder fills learned slots, and heads write prefixes or low-rank
updates from them. Only this hypermodel is trained, the backbone is frozen; trained as
well, it is what the paper marks with a plus.

NOTE: the paper's appendix could not be consulted and no code was published. Layouts of
slots and heads follow accounts of it and of its successors.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx.config import T5Config
from hyperx.hypernetworks.conditioners.hypermodel import Hypermodel
from hyperx.hypernetworks.generators.slots import (
    ALL_SITES,
    GELU_RMS,
    SITES,
    STACKS,
    LowRankHeads,
    PrefixHeads,
)
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method, Reads

_PROJECTIONS = ("query", "key", "value", "out")
# Where an attention and the norm in front of it lie in a layer.
_BLOCKS = {
    ("encoder", "self_attention"): ("pre_attention_layer_norm", "attention"),
    ("decoder", "self_attention"): (
        "pre_self_attention_layer_norm",
        "self_attention",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _HyperT5(Method):
    """What both kinds share: the hypermodel."""

    reads: ClassVar[Reads] = "condition"
    copies: ClassVar[Mapping[str, str]] = {"hypernetwork/conditioner/model/": ""}

    def _hypernetwork(
        self, backbone: T5Config, slots: int, heads: nn.Module
    ) -> Hypernetwork:
        return Hypernetwork(Hypermodel(backbone, slots), heads)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HyperT5Prefix(_HyperT5):
    """HyperT5-Prefix.

    Attributes:
        length: of the prefixes of all self-attentions.
        cross_attention: whether cross-attentions have one, too.
        gate: initial value of a learned number of every head, added to the scores of
            its prefix; None, as in the paper, for none. Prefixes of the right size
            still take a share of every attention; with a gate of -5 hardly any, so
            that a frozen backbone begins as it was.
    """

    length: int = 32
    cross_attention: bool = False
    gate: float | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"expected a length of at least 1, got {self.length}")

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The hypermodel with two slots per position, and the prefix heads."""
        heads = PrefixHeads(backbone, self.length, self.cross_attention, self.gate)
        return self._hypernetwork(backbone, 2 * self.length, heads)

    def start(self, params: Any, new: Collection[str] | None = None) -> Any:
        """Scales new heads so that prefixes are as large as the backbone's own keys.

        A T5 does not divide its scores, so keys of another size would silence or drown
        all else in every attention of the frozen backbone.
        """
        generator = dict(params["hypernetwork"]["generator"])
        for stack in STACKS:
            for site in (ALL_SITES if self.cross_attention else SITES)[stack]:
                for side in ("key", "value"):
                    name = f"{stack}_{site}_{side}_wo"
                    if new is not None and f"hypernetwork/generator/{name}" not in new:
                        continue
                    size = _size(params, stack, site, side)
                    generator[name] = generator[name] * size[:, None, None] / GELU_RMS
        hypernetwork = params["hypernetwork"] | {"generator": generator}
        return params | {"hypernetwork": hypernetwork}


def _size(params: Any, stack: str, site: str, side: str) -> jax.Array:
    """Root mean square ``[L]`` of a layer's keys or values, for inputs of unit size.

    They are read through the scale of a norm: for cross-attention, the encoder's last.
    """
    layers = params[stack]["layers"]
    if site == "cross_attention":
        attention = "encoder_decoder_attention"
        scale = params["encoder"]["encoder_norm"]["scale"][None]
    else:
        norm, attention = _BLOCKS[stack, site]
        scale = layers[norm]["scale"]
    kernel = layers[attention][side]["kernel"]
    weighted = jnp.square(kernel) * jnp.square(scale)[:, :, None]
    return jnp.sqrt(jnp.mean(jnp.sum(weighted, axis=1), axis=1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HyperT5Lora(_HyperT5):
    """HyperT5-LoRA.

    Attributes:
        rank: of the updates.
        alpha: their factor is ``alpha / rank``.
        projections: of every attention that are updated.
        shared_heads: whether all attentions share their heads, as in HyperLoRA (Lv et
            al., Findings of ACL 2024).
    """

    rank: int = 16
    alpha: float = 16.0
    projections: tuple[str, ...] = ("query", "value")
    shared_heads: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "projections", tuple(self.projections))
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")
        if not self.projections or not set(self.projections) <= set(_PROJECTIONS):
            raise ValueError(
                f"expected projections among {_PROJECTIONS}, got {self.projections}"
            )

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork:
        """The hypermodel with one slot per attention, and the low-rank heads."""
        heads = LowRankHeads(
            backbone,
            self.rank,
            self.alpha / self.rank,
            self.projections,
            self.shared_heads,
        )
        return self._hypernetwork(backbone, LowRankHeads.slots(backbone), heads)
