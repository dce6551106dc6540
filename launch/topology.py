"""What is computed on: slices of TPUs and nodes of GPUs, and what launchers call them.

Sources: Google Cloud, docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} (shapes, chips,
cores, machines), /tpu/docs/runtimes (software of TPU VMs) and
/kubernetes-engine/docs/concepts/plan-tpus (labels and shapes of nodes); and xpk's own
table, github.com/AI-Hypercomputer/xpk, src/xpk/core/system_characteristics.py.
"""

import dataclasses
import itertools
import math
import re


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """A generation of TPUs.

    Attributes:
        size: what names of sizes begin with, such as ``v5litepod`` of ``v5litepod-16``.
        cores: TensorCores of a chip, where such a name counts them; otherwise 1.
        runtime: the software of its TPU VMs.
        label: of its nodes in GKE, ``cloud.google.com/gke-tpu-accelerator``.
        pod: chips of its largest slice.
        shapes: all shapes of slices; empty for those of `_CUBES`.
    """

    size: str
    cores: int
    runtime: str
    label: str
    pod: int
    shapes: tuple[tuple[int, ...], ...] = ()


_FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
# Beyond these, every side is a multiple of 4: whole cubes of 64 chips.
_CUBES = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))

GENERATIONS = {
    "v4": Generation(
        size="v4",
        cores=2,
        runtime="tpu-ubuntu2204-base",
        label="tpu-v4-podslice",
        pod=4096,
    ),
    "v5e": Generation(
        size="v5litepod",
        cores=1,
        runtime="v2-alpha-tpuv5-lite",
        label="tpu-v5-lite-podslice",
        pod=256,
        shapes=_FLAT,
    ),
    "v5p": Generation(
        size="v5p",
        cores=2,
        runtime="v2-alpha-tpuv5",
        label="tpu-v5p-slice",
        pod=6144,
    ),
    "v6e": Generation(
        size="v6e",
        cores=1,
        runtime="v2-alpha-tpuv6e",
        label="tpu-v6e-slice",
        pod=256,
        shapes=_FLAT,
    ),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one generation, connected in a grid.

    Attributes:
        kind: of its chips, a key of `GENERATIONS`.
        shape: of the grid, in chips.
    """

    kind: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.kind}:{self.grid}"

    @property
    def generation(self) -> Generation:
        """Of its chips."""
        return GENERATIONS[self.kind]

    @property
    def grid(self) -> str:
        """Its shape as launchers write it, such as ``4x4x8``."""
        return "x".join(map(str, self.shape))

    @property
    def chips(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def chips_per_host(self) -> int:
        """Chips of one machine: 4, but a flat slice of 1 or 8 chips is one machine."""
        whole = self.chips == 1 or self.shape == (2, 4)
        return self.chips if whole else 4

    @property
    def hosts(self) -> int:
        """Machines, each of which runs the command."""
        return self.chips // self.chips_per_host

    @property
    def size(self) -> str:
        """Its accelerator type, such as ``v5p-256``, which tells no shape."""
        return f"{self.generation.size}-{self.chips * self.generation.cores}"

    @property
    def usual(self) -> bool:
        """Whether this shape is what one gets who asks for `size` alone."""
        same = (s for s in _shapes(self.generation) if math.prod(s) == self.chips)
        return self.shape == min(same, key=sum)


@dataclasses.dataclass(frozen=True)
class Gpus:
    """GPUs of one node.

    Attributes:
        kind: as the launcher calls it, such as ``h100``; ``gpu`` is any.
        count: how many.
    """

    kind: str
    count: int

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.kind}:{self.count}"


def parse(text: str) -> Slice | Gpus:
    """Reads ``v5p:4x4x8``, a slice of TPUs, or ``h100:8``, the GPUs of a node.

    Raises:
        ValueError: if there is no such slice.
    """
    kind, _, size = text.partition(":")
    if kind in GENERATIONS:
        return _slice(text, kind, size)
    if re.fullmatch(r"[A-Za-z][\w.-]*:[1-9]\d*", text):
        return Gpus(kind, int(size))
    raise ValueError(
        f"expected TPUs of {', '.join(GENERATIONS)}, such as v5p:4x4x8, or the GPUs of "
        f"a node, such as h100:8, got {text!r}"
    )


def _slice(text: str, kind: str, size: str) -> Slice:
    sides = size.split("x")
    shape = tuple(map(int, sides)) if all(s.isdecimal() for s in sides) else ()
    generation = GENERATIONS[kind]
    if shape in _shapes(generation):
        return Slice(kind, shape)
    if generation.shapes:
        known = ", ".join("x".join(map(str, shape)) for shape in generation.shapes)
    else:
        few = ", ".join("x".join(map(str, shape)) for shape in _CUBES)
        known = (
            f"{few}, or three ascending multiples of 4 with at most {generation.pod} "
            "chips"
        )
    raise ValueError(f"expected a shape of {kind}: {known}; got {text!r}")


def _shapes(generation: Generation) -> tuple[tuple[int, ...], ...]:
    if generation.shapes:
        return generation.shapes
    sides = range(4, generation.pod // 16 + 1, 4)
    cubes = (
        (a, b, c)
        for a, b in itertools.combinations_with_replacement(sides, 2)
        for c in range(b, generation.pod // (a * b) + 1, 4)
    )
    return (*_CUBES, *cubes)
