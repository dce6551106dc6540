"""What every method says of itself."""

import dataclasses
from typing import ClassVar, Literal

from hyperx.config import T5Config
from hyperx.hypernetworks.hypernetwork import Hypernetwork

Reads = Literal["condition", "prompt", "inputs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A point in the space of conditioners and generators.

    Attributes:
        reads: ``condition``: the hypernetwork reads the condition, the backbone the
            inputs; ``prompt``: the backbone reads both in one text; ``inputs``: the
            condition is not read at all.
    """

    reads: ClassVar[Reads]

    def hypernetwork(self, backbone: T5Config) -> Hypernetwork | None:
        """The hypernetwork for a backbone; None for a plain one."""
        raise NotImplementedError
