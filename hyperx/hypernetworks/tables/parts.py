"""What tables hold for each kind of part: names, sizes, and how they start."""

import dataclasses
from collections.abc import Iterator
from typing import Literal, NamedTuple

import flax.linen as nn
import jax

from hyperx import axes
from hyperx.adaptation import (
    PROJECTIONS,
    SCALED,
    Adapter,
    LowRank,
    Prefix,
    Scale,
    SiteParts,
)
from hyperx.config import T5Config

ATTENTIONS = ("self_attention", "cross_attention")
_OF_ATTENTION = ("query", "key", "value", "out")


class Rows(NamedTuple):
    """A table of one array of a part, for one layer and task.

    Attributes:
        name: of its parameter, after that of the site.
        rows: of the array; 0 for a vector.
        names: logical axes of rows and columns.
        init: initialiser of ``[rows, width]``.
        width: columns.
    """

    name: str
    rows: int
    names: tuple[str, str]
    init: nn.initializers.Initializer
    width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterTable:
    """Bottleneck adapters.

    Attributes:
        bottleneck: of the adapters (M).
        sites: which sub-layers have one.
        activation: inside of them.
        placement: see `hyperx.adaptation.Adapter`.
        normalized: whether a trained layer normalisation follows.
        start: ``normal``: weights of deviation 0.01 (Houlsby et al. 2019);
            ``xavier``: uniform by fans, a ten-thousandth of the usual (Ivison and
            Peters 2022); ``zero_up``: fan-in down, zero up, so that nothing changes.
    """

    bottleneck: int
    sites: tuple[str, ...] = ("mlp",)
    activation: str = "gelu"
    placement: str = "parallel"
    normalized: bool = False
    start: Literal["normal", "xavier", "zero_up"] = "zero_up"

    def tables(self, config: T5Config, site: str) -> Iterator[Rows]:
        """The tables of one sub-layer."""
        if site not in self.sites:
            return
        size, width = self.bottleneck, config.embed_dim
        names = (axes.BOTTLENECK, axes.EMBED)
        zero = nn.initializers.zeros_init()
        xavier = _uniform(1e-4 * (6 / (size + width)) ** 0.5)
        down, up = {
            "normal": (nn.initializers.normal(0.01), nn.initializers.normal(0.01)),
            "xavier": (xavier, xavier),
            "zero_up": (nn.initializers.normal(width**-0.5), zero),
        }[self.start]
        yield Rows("adapter_down", size, names, down, width)
        yield Rows("adapter_up", size, names, up, width)
        yield Rows("adapter_down_bias", 0, (axes.TASKS, axes.BOTTLENECK), zero, size)
        yield Rows("adapter_up_bias", 0, (axes.TASKS, axes.EMBED), zero, width)
        if self.normalized:
            one = nn.initializers.ones_init()
            yield Rows("adapter_norm_scale", 0, (axes.TASKS, axes.EMBED), one, width)
            yield Rows("adapter_norm_bias", 0, (axes.TASKS, axes.EMBED), zero, width)

    def build(self, arrays: dict[str, jax.Array], config: T5Config) -> SiteParts:
        """The part of one sub-layer from its arrays ``[G, ...]``."""
        del config
        fields = {name.removeprefix("adapter_"): x for name, x in arrays.items()}
        if not fields:
            return SiteParts()
        static = dict(activation=self.activation, placement=self.placement)
        return SiteParts(adapter=Adapter(**fields, **static))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRankTable:
    """Low-rank updates (Hu et al. 2022): nothing at first.

    Attributes:
        rank: of the updates (N).
        scale: their factor.
        projections: names of `hyperx.adaptation.PROJECTIONS`; ``wi`` is every input
            kernel of a feed-forward layer.

    Raises:
        ValueError: for an input kernel that the backbone does not have.
    """

    rank: int
    scale: float = 1.0
    projections: tuple[str, ...] = ("query", "value")

    def names(self, config: T5Config, site: str) -> tuple[str, ...]:
        """The projections of one sub-layer that are updated."""
        if site in ATTENTIONS:
            return tuple(n for n in _OF_ATTENTION if n in self.projections)
        inputs, known = config.mlp_inputs, {"wi", "wo", *_OF_ATTENTION}
        unknown = set(self.projections) - {*inputs, *known}
        if unknown:
            raise ValueError(
                f"expected input kernels among {inputs}, or 'wi' for all, got "
                f"{sorted(unknown)}"
            )
        named = self.projections + (inputs if "wi" in self.projections else ())
        return tuple(n for n in (*inputs, "wo") if n in named)

    def tables(self, config: T5Config, site: str) -> Iterator[Rows]:
        """The tables of one sub-layer."""
        sizes = {
            axes.EMBED: config.embed_dim,
            axes.JOINED_HEADS: config.joined_heads,
            axes.MLP: config.mlp_dim,
        }
        for name in self.names(config, site):
            read, written = PROJECTIONS[name]
            # Kaiming-uniform with slope sqrt(5), as the published code starts.
            kaiming = _uniform(sizes[read] ** -0.5)
            zero = nn.initializers.zeros_init()
            a, b = (axes.RANK, read), (axes.RANK, written)
            yield Rows(f"{name}_a", self.rank, a, kaiming, sizes[read])
            yield Rows(f"{name}_b", self.rank, b, zero, sizes[written])

    def build(self, arrays: dict[str, jax.Array], config: T5Config) -> SiteParts:
        """The parts of one sub-layer from their arrays ``[G, N, width]``."""
        del config
        names = dict.fromkeys(name[:-2] for name in arrays)
        return SiteParts(
            low_rank={
                name: LowRank(arrays[f"{name}_a"], arrays[f"{name}_b"], self.scale)
                for name in names
            }
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixTable:
    """Keys and values (Li and Liang 2021), without a reparametrisation.

    Attributes:
        length: of the prefixes (P).
        stddev: of the initial keys and values.
    """

    length: int
    stddev: float = 0.02

    def tables(self, config: T5Config, site: str) -> Iterator[Rows]:
        """The tables of one sub-layer."""
        if site not in ATTENTIONS:
            return
        names = (axes.PREFIX, axes.JOINED_HEADS)
        init = nn.initializers.normal(self.stddev)
        for name in ("prefix_key", "prefix_value"):
            yield Rows(name, self.length, names, init, config.joined_heads)

    def build(self, arrays: dict[str, jax.Array], config: T5Config) -> SiteParts:
        """The part of one sub-layer from its arrays ``[G, P, H * K]``."""
        heads = (config.num_heads, config.head_dim)
        parts = [x.reshape(*x.shape[:2], *heads) for x in arrays.values()]
        return SiteParts(prefix=Prefix(*parts)) if parts else SiteParts()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleTable:
    """Factors of keys, values and hidden units (Liu et al. 2022, IA3): one at first."""

    def tables(self, config: T5Config, site: str) -> Iterator[Rows]:
        """The tables of one sub-layer."""
        attention = site in ATTENTIONS
        width = config.joined_heads if attention else config.mlp_dim
        for name in ("key", "value") if attention else ("hidden",):
            names = (axes.TASKS, SCALED[name])
            yield Rows(f"{name}_scale", 0, names, nn.initializers.ones_init(), width)

    def build(self, arrays: dict[str, jax.Array], config: T5Config) -> SiteParts:
        """The parts of one sub-layer from their arrays ``[G, width]``."""
        del config
        scales = {name[: -len("_scale")]: Scale(x) for name, x in arrays.items()}
        return SiteParts(scale=scales)


PartTable = AdapterTable | LowRankTable | PrefixTable | ScaleTable


def _uniform(bound: float) -> nn.initializers.Initializer:
    """Uniform from ``-bound`` to ``bound``."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: str = "float32"):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
