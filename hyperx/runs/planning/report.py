"""A plan as it is printed."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_MEMORY = {
    "argument": "arguments",
    "temporary": "temporaries",
    "output": "outputs",
    "alias": "outputs in place of arguments",
    "code": "code",
}


def show(told: Mapping[str, Any]) -> None:
    """Prints what `hyperx.runs.plan.plan` found."""
    console = Console(highlight=False, soft_wrap=True)
    mesh = ", ".join(f"{name} {size}" for name, size in told["mesh"].items())
    slices = f"{told['slices']} x " if told["slices"] > 1 else ""
    parts = told["micro_batches"]
    console.print(
        f"{told['method']}, {told['parameters']:,} parameters, {told['dtype']}, on "
        f"{slices}{told['topology']}: {told['chips']} chips, mesh {mesh}\n"
        f"{told['groups']} conditions x {told['rows']} rows"
        f"{f' in {parts} parts' if parts and parts > 1 else ''}; lengths "
        + ", ".join(f"{name} {size}" for name, size in told["feature_lengths"].items())
    )
    for program in told["programs"]:
        _show_program(console, program, told)
    _show_verdict(console, told)


def _show_program(
    console: Console, program: Mapping[str, Any], told: Mapping[str, Any]
) -> None:
    table = Table(title=program["name"], title_justify="left")
    table.add_column("")
    table.add_column("per chip", justify="right")
    for name, size in program["arguments"].items():
        table.add_row(name, _size(size))
    table.add_section()
    for name, size in program["memory"].items():
        table.add_row(_MEMORY[name], _size(size))
    peak = program["peak"]
    told_peak = "not told by the compiler" if peak is None else _size(peak)
    table.add_row("needed at once", told_peak)
    table.add_row("usable of a chip", _size(told["hbm"]))
    table.add_section()
    table.add_row(
        "matrix products, loops included",
        f"{program['flops'] / told['chips']:.3g} FLOPs",
    )
    if program["fits"]:
        table.add_row(
            "the compiler's count, loop bodies once",
            f"{program['compiler_flops']:.3g} FLOPs",
        )
        table.add_row(
            "bytes accessed, loop bodies once", f"{program['bytes_accessed']:.3g}"
        )
        for kind, one in program["collectives"].items():
            told_kind = f"{one['count']} x, {_size(one['bytes'])}"
            table.add_row(f"{kind}, loop bodies once", told_kind)
    table.add_section()
    for name, seconds in program["seconds"].items():
        table.add_row(f"to {name}", f"{seconds:.0f} s")
    console.print(table)
    if not program["fits"]:
        _show_largest(console, program)


def _show_largest(console: Console, program: Mapping[str, Any]) -> None:
    """What takes the memory of a program that does not fit."""
    console.print("the largest arrays that it is given, and a chip's part of them:")
    for array in program["largest"]:
        shapes = f"{_shape(array['shape'])} -> {_shape(array['per_chip'])}"
        console.print(f"  {_size(array['bytes']):>12}  {array['path']}  {shapes}")
    console.print(f"compiler: {program['message'].splitlines()[0]}", markup=False)


def _show_verdict(console: Console, told: Mapping[str, Any]) -> None:
    if told["fits"]:
        peak = max(program["peak"] for program in told["programs"])
        console.print(
            f"fits: {_size(peak)} of {_size(told['hbm'])} ({peak / told['hbm']:.0%})"
        )
        return
    console.print("does not fit; what would need less:")
    for suggestion in told["suggestions"]:
        console.print(f"  {suggestion}", markup=False)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _size(size: float) -> str:
    """Bytes, in a unit that suits them."""
    unit = 30 if size >= 2**30 else 20
    return f"{size / 2**unit:,.2f} {'GiB' if unit == 30 else 'MiB'}"
