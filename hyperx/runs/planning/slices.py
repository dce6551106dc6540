"""TPU slices: what can be compiled for, on a machine that has none of it."""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

# What libtpu would ask the cloud's metadata server for, and who else may load it.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # any: the topology is given by name
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
}
# Products with one row per group nest deeper than the 64 KiB stacks of its threads:
# the compiler would die of a segmentation fault.
_STACK = "--fibers_default_thread_stack_size=2097152"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """A generation of TPUs.

    Attributes:
        hbm: memory of a chip in GiB, as Google states it.
        usable: GiB of it that a program may have, by the compiler's count.
        axes: of its interconnect: axes of a slice's shape.
        pod: chips of the largest slice.
        side: longest side of a slice.
        options: of its topologies, for libtpu.
    """

    hbm: int
    usable: float
    axes: int
    pod: int
    side: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


# Google Cloud, "TPU architecture": docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}.
# The two cores of a v4 chip compute as one device, as runs on it do by default.
CHIPS = {
    "v4": Chip(
        hbm=32,
        usable=30.75,
        axes=3,
        pod=4096,
        side=256,
        options={"chip_config_name": "megacore"},
    ),
    "v5e": Chip(hbm=16, usable=15.75, axes=2, pod=256, side=16),
    "v5p": Chip(hbm=95, usable=95.74, axes=3, pod=6144, side=384),
    "v6e": Chip(hbm=32, usable=31.25, axes=2, pod=256, side=16),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one generation, connected in a grid; or several such grids.

    Attributes:
        name: such as ``v5p:4x4x8``.
        shape: of the grid, in chips.
        count: of such slices, connected by the data centre's network.
    """

    name: str
    shape: tuple[int, ...]
    count: int = 1

    @classmethod
    def parse(cls, name: str, count: int = 1) -> "Slice":
        """Reads a slice's name.

        Raises:
            ValueError: if there is no such slice.
        """
        match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
        chip = CHIPS.get(match[1]) if match else None
        if chip is None:
            raise ValueError(
                f"expected a slice such as v4:4x4x8, of {', '.join(CHIPS)}, got "
                f"{name!r}"
            )
        shape = tuple(int(side) for side in match[2].split("x"))
        if len(shape) != chip.axes:
            raise ValueError(
                f"expected {chip.axes} sides for {match[1]}, such as "
                f"{match[1]}:{'x'.join(['4'] * chip.axes)}, got {name!r}"
            )
        chips = math.prod(shape)
        if not 0 < chips <= chip.pod or max(shape) > chip.side:
            raise ValueError(
                f"expected at most {chip.pod} chips and sides of at most {chip.side} "
                f"for {match[1]}, got {name!r}"
            )
        return cls(name, shape, count)

    @property
    def chip(self) -> Chip:
        """Its chips' generation."""
        return CHIPS[self.name.partition(":")[0]]

    @property
    def chips(self) -> int:
        """How many chips there are."""
        return math.prod(self.shape) * self.count

    def mesh_axes(self, text: str | None, *, fsdp: int, model: int) -> dict[str, int]:
        """Sizes of the axes of a mesh over all chips.

        Args:
            text: such as ``data=32,model=4``.
            fsdp: size of that axis where `text` does not tell it.
            model: likewise.

        Raises:
            ValueError: if `text` is malformed or names another number of chips.
        """
        given = {}
        for part in text.split(",") if text else ():
            match = re.fullmatch(r"(data|fsdp|model)=([1-9]\d*)", part.strip())
            if not match or match[1] in given:
                raise ValueError(
                    "expected a mesh such as data=32,model=4 or data=8,fsdp=4,model=4, "
                    f"got {text!r}"
                )
            given[match[1]] = int(match[2])
        sizes = {"fsdp": fsdp, "model": model} | given
        rest = self.chips // (sizes["fsdp"] * sizes["model"])
        axes = {"data": rest, **sizes}
        if math.prod(axes.values()) != self.chips:
            told = " x ".join(f"{size} ({name})" for name, size in axes.items())
            raise ValueError(
                f"expected a mesh of the {self.chips} chips of {self.count} x "
                f"{self.name}, got {told} = {math.prod(axes.values())}"
            )
        return axes

    def devices(self) -> list[jax.Device]:
        """Devices to compile for, one per chip; nothing can run on them.

        Raises:
            ValueError: without libtpu, or if there is no such slice.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise ValueError(
                "expected libtpu, whose compiler plans, got none: pip install "
                "'hyperx[plan]'"
            )
        prepare()
        options = dict(self.chip.options)
        if self.chips == 1:
            options["chips_per_host_bounds"] = (1, 1, 1)
        if self.count > 1:
            options["num_slices"] = self.count
        try:
            topology = topologies.get_topology_desc(
                self.name, platform="tpu", **options
            )
        except jax.errors.JaxRuntimeError as error:
            raise ValueError(
                f"expected a slice that exists, got {self.name!r}: {error}"
            ) from error
        return topology.devices


def prepare() -> None:
    """Makes libtpu load anywhere, and leaves what computes here to the CPU.

    To be called before JAX looks for devices: then already it loads libtpu, and what
    that starts keeps the settings it has found.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    given = os.environ.get("LIBTPU_INIT_ARGS", "")
    if _STACK not in given:
        os.environ["LIBTPU_INIT_ARGS"] = f"{_STACK} {given}".strip()
    jax.config.update("jax_platforms", "cpu")
