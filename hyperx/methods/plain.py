"""Plain T5: the baselines that generate nothing.

Reading the ``prompt``, condition and input in one text, it is multi-task instruction
tuning as in Tk-Instruct (Wang et al. 2022) and T0 (Sanh et al. 2022). Reading the
``inputs`` alone it shows what can be had without any condition.
"""

import dataclasses

from hyperx.config import T5Config
from hyperx.methods.method import Method, Reads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Method):
    """T5 without a hypernetwork.

    Attributes:
        reads: ``prompt`` or ``inputs``.
    """

    reads: Reads = "prompt"

    def __post_init__(self) -> None:
        if self.reads not in ("prompt", "inputs"):
            raise ValueError(
                f"expected reads to be 'prompt' or 'inputs', got {self.reads!r}"
            )

    def hypernetwork(self, backbone: T5Config) -> None:
        """None: nothing is generated."""
        del backbone
