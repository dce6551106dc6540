"""Adapters (Houlsby et al., ICML 2019; parallel ones: He et al., ICLR 2022).

Bottleneck networks behind, or beside, the self-attention and the feed-forward layer of
every block, trained as they are. The backbone is frozen but for the scales of its
normalisations.

NOTE: He et al. multiply what parallel adapters write by a factor (4), here it is 1.
"""

import dataclasses
from typing import Literal

from hyperx.config import T5Config
from hyperx.hypernetworks.tables.parts import AdapterTable
from hyperx.hypernetworks.tables.tables import SITES, Stack, Table
from hyperx.methods.of_tables import TableMethod


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapters(TableMethod):
    """Adapters.

    Attributes:
        bottleneck: of the adapters.
        sites: which sub-layers have one.
        activation: inside of them.
        placement: ``sequential`` (Houlsby et al.) or ``parallel`` (He et al.).
        normalized: whether a trained layer normalisation follows, as in the baselines
            of HyperFormer (Karimi Mahabadi et al. 2021).
        initial: ``normal``: kernels of deviation 0.01, as published; ``zero_up``: no
            change of the backbone at first, to the bit. A normalisation needs the
            former: around zero it makes anything large.
    """

    bottleneck: int = 64
    sites: tuple[str, ...] = ("self_attention", "mlp")
    activation: str = "gelu"
    placement: Literal["sequential", "parallel"] = "sequential"
    normalized: bool = False
    initial: Literal["normal", "zero_up"] = "zero_up"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sites", tuple(self.sites))
        if not self.sites or not set(self.sites) <= set(SITES["decoder"]):
            raise ValueError(
                f"expected sites among {SITES['decoder']}, got {self.sites}"
            )
        allowed = ("normal",) if self.normalized else ("normal", "zero_up")
        if self.initial not in allowed:
            raise ValueError(
                f"expected initial to be one of {allowed}, got {self.initial!r}"
            )
        if self.bottleneck < 1:
            raise ValueError(
                f"expected a bottleneck of at least 1, got {self.bottleneck}"
            )

    def stack(self, backbone: T5Config, stack: Stack) -> Table:
        """The adapters of one stack."""
        adapters = AdapterTable(
            bottleneck=self.bottleneck,
            sites=self.sites,
            activation=self.activation,
            placement=self.placement,
            normalized=self.normalized,
            start=self.initial,
        )
        return Table(backbone, stack, adapters, self.task_count)
