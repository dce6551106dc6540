"""Heads that write weights from the slots of a hypermodel (Phang et al. 2023)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes
from hyperx.adaptation import PROJECTIONS, LayerAdaptation, LowRank, Prefix, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning

SITES = {"encoder": ("self_attention",), "decoder": ("self_attention",)}
ALL_SITES = SITES | {"decoder": ("self_attention", "cross_attention")}
STACKS = ("encoder", "decoder")
_ATTENTIONS = ("encoder", "decoder", "cross")
# Root mean square of GELU at a standard normal: what the hidden units of a head have.
GELU_RMS = 0.652


class PrefixHeads(nn.Module):
    """P slots for keys and P for values; one slot is one position of every layer.

    A head of two layers for every attention and side. The kernel of its second layer
    has a part for each layer of the backbone, with which that layer's keys or values
    are written.

    Attributes:
        config: of the backbone.
        length: of the prefixes (P).
        cross_attention: whether cross-attentions have a prefix, too.
        gate: initial value of the gates of all heads; None for no gates.
    """

    config: T5Config
    length: int
    cross_attention: bool = False
    gate: float | None = None

    @nn.compact
    def __call__(self, code: jax.Array) -> Conditioning:
        """Emissions for slots ``[G, 2 P, D]``."""
        slots = {"key": code[:, : self.length], "value": code[:, self.length :]}
        emissions = {}
        for stack in STACKS:
            hidden, layers = {}, {}
            for site in (ALL_SITES if self.cross_attention else SITES)[stack]:
                name = f"{stack}_{site}"
                hidden[site] = {
                    side: self._hidden(f"{name}_{side}_wi", own)
                    for side, own in slots.items()
                }
                layers[site] = {
                    side: self._kernel(f"{name}_{side}_wo", stack) for side in slots
                }
                if self.gate is not None:
                    layers[site]["gate"] = self._gate(f"{name}_gate", stack)
            emit = _EmitPrefix(self.config)
            emissions[stack] = Emission.of(emit, shared=hidden, layers=layers)
        return Conditioning(**emissions)

    def _hidden(self, name: str, slots: jax.Array) -> jax.Array:
        """The first layer of a head, of ``[G, P, D]``; the same for all layers.

        In float32: its gradients, of all layers, add up in its own dtype.
        """
        kernel = _kernel(self, name, self.config.embed_dim, axes.EMBED_OUT)
        return nn.gelu(_project(slots, kernel)).astype(jnp.float32)

    def _kernel(self, name: str, stack: str) -> jax.Array:
        """The second layer of a head, ``[L, D, H * K]``."""
        layers = getattr(self.config, f"num_{stack}_layers")
        embed, joined = self.config.embed_dim, self.config.joined_heads
        init = nn.initializers.normal(embed**-0.5)
        # Heads are what is split over devices: an array can be split along one axis.
        names = (axes.LAYERS, axes.EMBED_OUT, axes.JOINED_HEADS)
        return self.param(name, boxed(init, *names), (layers, embed, joined))

    def _gate(self, name: str, stack: str) -> jax.Array:
        """The gates of an attention, ``[L, H]``."""
        layers = getattr(self.config, f"num_{stack}_layers")
        init = boxed(nn.initializers.constant(self.gate), axes.LAYERS, axes.HEADS)
        return self.param(name, init, (layers, self.config.num_heads))


@dataclasses.dataclass(frozen=True)
class _EmitPrefix:
    """Writes one layer's prefixes; static configuration only, so that jit can cache."""

    config: T5Config

    def __call__(
        self,
        hidden: dict[str, dict[str, jax.Array]],
        layers: dict[str, dict[str, jax.Array]],
    ) -> LayerAdaptation:
        sites = {
            site: SiteParts(prefix=self._write(hidden[site], **own))
            for site, own in layers.items()
        }
        return adaptation.constrain(LayerAdaptation(**sites))

    def _write(
        self,
        hidden: dict[str, jax.Array],
        key: jax.Array,
        value: jax.Array,
        gate: jax.Array | None = None,
    ) -> Prefix:
        """One prefix, of hidden units ``[G, P, D]`` and kernels ``[D, H * K]``."""
        heads = (self.config.num_heads, self.config.head_dim)
        hidden = {side: x.astype(self.config.dtype) for side, x in hidden.items()}
        sides = (_project(hidden["key"], key), _project(hidden["value"], value))
        key, value = (x.reshape(*x.shape[:2], *heads) for x in sides)
        if gate is not None:  # the same for all conditions
            gate = jnp.broadcast_to(gate.astype(key.dtype), (len(key), heads[0]))
        return Prefix(key, value, gate)


class LowRankHeads(nn.Module):
    """A slot for every attention of every layer; heads of two layers write its updates.

    The heads serve all layers. The second layer starts as Bias-HyperInit (Charakorn et
    al. 2025) has it: that of ``b`` is zero, so that at first nothing changes; that of
    ``a`` has a bias which starts as LoRA's ``a`` does.

    Attributes:
        config: of the backbone.
        rank: of the updates (N).
        scale: their factor.
        projections: of every attention that are updated.
        shared_heads: whether all attentions of a layer share their heads, as in
            HyperLoRA (Lv et al. 2024).
    """

    config: T5Config
    rank: int
    scale: float
    projections: tuple[str, ...] = ("query", "value")
    shared_heads: bool = False

    @staticmethod
    def slots(config: T5Config) -> int:
        """How many slots are read: one per attention."""
        return config.num_encoder_layers + 2 * config.num_decoder_layers

    @nn.compact
    def __call__(self, code: jax.Array) -> Conditioning:
        """Emissions for slots ``[G, slots, D]``: encoder, self-, cross-attentions."""
        encoder, decoder = (
            self.config.num_encoder_layers,
            self.config.num_decoder_layers,
        )
        parts = jnp.split(code, [encoder, encoder + decoder], axis=1)
        slots = {
            name: part.swapaxes(0, 1)  # [L, G, D]
            for name, part in zip(_ATTENTIONS, parts, strict=True)
        }
        kinds = ("shared",) if self.shared_heads else _ATTENTIONS
        heads = {kind: self._heads(kind) for kind in kinds}
        emit = _EmitLowRank(self.rank, self.scale)

        def emission(**sites: str) -> Emission:
            """Of the attentions at `sites`."""
            return Emission.of(
                emit,
                shared={s: heads.get(n, heads.get("shared")) for s, n in sites.items()},
                layers={s: slots[n] for s, n in sites.items()},
            )

        return Conditioning(
            emission(self_attention="encoder"),
            emission(self_attention="decoder", cross_attention="cross"),
        )

    def _heads(self, kind: str) -> dict[str, dict[str, jax.Array]]:
        """The heads of one kind of attention, by projection and factor."""
        width = {
            axes.EMBED: self.config.embed_dim,
            axes.JOINED_HEADS: self.config.joined_heads,
        }
        return {
            f"{name}_{factor}": self._head(f"{kind}_{name}_{factor}", width[axis])
            for name in self.projections
            for factor, axis in zip("ab", PROJECTIONS[name], strict=True)
        }

    def _head(self, name: str, width: int) -> dict[str, jax.Array]:
        """Kernels ``[D, D]`` and ``[D, N * width]``, and a bias ``[N * width]``."""
        embed, out = self.config.embed_dim, self.rank * width
        zero = nn.initializers.zeros_init()
        wo, bias = zero, zero
        if name.endswith("_a"):
            # A hundredth of the bias: conditions differ little at first.
            wo = nn.initializers.normal(0.01 * (embed * width) ** -0.5)
            bias = nn.initializers.normal((3 * width) ** -0.5)
        names = (axes.HEAD_MLP, axes.EMBED_OUT)
        return {
            "wi": _kernel(self, f"{name}_wi", embed, axes.HEAD_MLP),
            "wo": self.param(f"{name}_wo", boxed(wo, *names), (embed, out)),
            "bias": self.param(f"{name}_bias", boxed(bias, axes.EMBED_OUT), (out,)),
        }


@dataclasses.dataclass(frozen=True)
class _EmitLowRank:
    """Writes one layer's updates; static configuration only, so that jit can cache."""

    rank: int
    scale: float

    def __call__(
        self, shared: dict[str, dict], slots: dict[str, jax.Array]
    ) -> LayerAdaptation:
        sites = {}
        for site, heads in shared.items():
            written = {n: self._write(head, slots[site]) for n, head in heads.items()}
            names = dict.fromkeys(name[: -len("_a")] for name in written)
            low_rank = {
                name: LowRank(written[f"{name}_a"], written[f"{name}_b"], self.scale)
                for name in names
            }
            sites[site] = SiteParts(low_rank=low_rank)
        return adaptation.constrain(LayerAdaptation(**sites))

    def _write(self, head: dict[str, jax.Array], slot: jax.Array) -> jax.Array:
        """One factor ``[G, N, width]`` from a slot ``[G, D]``."""
        out = _project(nn.gelu(_project(slot, head["wi"])), head["wo"])
        out = out + head["bias"].astype(out.dtype)[None]
        return out.reshape(out.shape[0], self.rank, -1)


def _kernel(module: nn.Module, name: str, embed: int, axis: str) -> jax.Array:
    """The first layer of a head, ``[D, D]`` with hidden axis `axis`, by fan-in."""
    init = boxed(nn.initializers.normal(embed**-0.5), axes.EMBED, axis)
    return module.param(name, init, (embed, embed))


def _project(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("...i,io->...o", x, kernel.astype(x.dtype))
