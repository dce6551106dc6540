"""What compiling a program tells: its memory, work and communication per chip."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from hyperx import program as program_lib
from hyperx import sharding
from hyperx.runs.planning.stages import stage

_LARGEST = 8
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = r"([\d.]+)([KMGT]?)"
# The ways in which TPU compilers say how much a program needs.
_REQUIRED = (
    re.compile(rf"\({_SIZE}\) exceeds available HBM"),
    re.compile(rf"Used {_SIZE} of \S+ hbm"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A program as its run compiles it.

    Attributes:
        name: of what it does.
        arguments: by name, trees of `jax.ShapeDtypeStruct`; a leaf without a sharding
            lies where the compiler wants it.
        lower: traces it for the mesh.
        flops: counts its operations in matrix products, on all chips together.
    """

    name: str
    arguments: Mapping[str, Any]
    lower: Callable[[], jax.stages.Lowered]
    flops: Callable[[], int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
    """One array among a program's arguments.

    Attributes:
        path: of the leaf.
        shape: of all of it.
        per_chip: shape of a chip's part.
        bytes: of a chip's part.
    """

    path: str
    shape: tuple[int, ...]
    per_chip: tuple[int, ...]
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A program compiled for a slice. All bytes are those of one chip.

    Attributes:
        name: of the program.
        fits: whether a chip's memory holds it.
        peak: bytes that it needs at once; None where the compiler does not say.
        memory: bytes of the ``argument``, ``output``, ``alias`` (of an output in the
            place of an argument), ``temporary`` and ``code``; if it does not fit, what
            is needed besides arguments, if the compiler says it.
        arguments: bytes by what they are.
        largest: arrays among the arguments.
        flops: operations in matrix products, of all chips together, loops included.
        compiler_flops: operations that the compiler counts, per chip and with the body
            of every loop once; None if it does not fit.
        bytes_accessed: as the compiler counts them, likewise.
        collectives: by kind, their number and bytes; a loop's once.
        seconds: that tracing and compiling took.
        message: what the compiler said of a program that does not fit.
    """

    name: str
    fits: bool
    peak: int | None
    memory: Mapping[str, int]
    arguments: Mapping[str, int]
    largest: Sequence[Array]
    flops: int
    compiler_flops: float | None = None
    bytes_accessed: float | None = None
    collectives: Mapping[str, program_lib.Collectives] = dataclasses.field(
        default_factory=dict
    )
    seconds: Mapping[str, float]
    message: str = ""


def compiled(
    program: Program, mesh: Mesh
) -> tuple[Outcome, jax.stages.Compiled | None]:
    """Compiles a program for a mesh, which takes minutes for a large model.

    Returns:
        What it needs, and the compiled program if it fits.
    """
    known: dict[str, Any] = {"name": program.name} | _arguments(program)
    with sharding.use(mesh):
        with stage(f"tracing the {program.name}") as clock:
            known["flops"] = program.flops()
            lowered = program.lower()
            seconds = {"trace": clock()}
        chips = f"{mesh.size} chip{'s' if mesh.size > 1 else ''}"
        with stage(f"compiling the {program.name} for {chips}") as clock:
            try:
                done = lowered.compile()
            except jax.errors.JaxRuntimeError as error:
                if not str(error).startswith("RESOURCE_EXHAUSTED"):
                    raise
                done, known["message"] = None, str(error)
            seconds["compile"] = clock()
    if done is None:
        peak, given = required(known["message"]), sum(known["arguments"].values())
        memory = {} if peak is None else {"temporary": max(peak - given, 0)}
        failed = Outcome(fits=False, peak=peak, memory=memory, seconds=seconds, **known)
        return failed, None
    return _measured(done, seconds, known), done


def required(message: str) -> int | None:
    """Bytes that a program would need, from what the compiler says of it."""
    for pattern in _REQUIRED:
        if match := pattern.search(message):
            return round(float(match[1]) * 2 ** _UNITS[match[2]])
    return None


def per_chip(tree: Any) -> int:
    """Bytes of a tree of arrays on each chip."""
    return sum(_array("", leaf).bytes for leaf in jax.tree.leaves(tree))


def _measured(
    done: jax.stages.Compiled, seconds: Mapping[str, float], known: Mapping[str, Any]
) -> Outcome:
    memory, cost = done.memory_analysis(), done.cost_analysis()
    return Outcome(
        fits=True,
        peak=memory.peak_memory_in_bytes,
        memory={
            "argument": memory.argument_size_in_bytes,
            "output": memory.output_size_in_bytes,
            "alias": memory.alias_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
            "code": memory.generated_code_size_in_bytes,
        },
        compiler_flops=cost.get("flops", 0.0),
        bytes_accessed=cost.get("bytes accessed", 0.0),
        collectives=program_lib.collectives(done.as_text()),
        seconds=seconds,
        **known,
    )


def _arguments(program: Program) -> dict[str, Any]:
    arrays = [
        _array(f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}", leaf)
        for name, tree in program.arguments.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    arrays.sort(key=lambda array: -array.bytes)
    totals = {name: per_chip(tree) for name, tree in program.arguments.items()}
    return {
        "arguments": {name: total for name, total in totals.items() if total},
        "largest": arrays[:_LARGEST],
    }


def _array(path: str, leaf: jax.ShapeDtypeStruct) -> Array:
    where, shape = leaf.sharding, leaf.shape
    part = shape if where is None else where.shard_shape(shape)
    size = math.prod(part) * leaf.dtype.itemsize
    return Array(path=path.rstrip("/"), shape=shape, per_chip=part, bytes=size)
