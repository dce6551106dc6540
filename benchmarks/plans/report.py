"""What is told of plans: tables by size and generation, and a picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]

SIZES = ("base", "xl", "xxl")
GENERATIONS = ("v4", "v5e", "v5p", "v6e")
METHODS = {
    "t5": "plain T5",
    "hint": "HINT",
    "hyper_t5_prefix": "HyperT5-Prefix",
    "hyper_t5_lora": "HyperT5-LoRA",
    "hyperdecoders": "Hyperdecoders",
    "hyperprompt": "HyperPrompt",
}
_HEAD = (
    "conditions x rows | lies there | at once | may have | | TFLOPs | collectives "
    "| compiled in |"
)
_RULE = "---|--:|--:|--:|---|--:|--:|--:|"


def markdown(found: Sequence[Found]) -> str:
    """Tables of finished plans.

    Args:
        found: what `hyperx plan --json` told, and the ``name`` of each.
    """
    named = {one["name"]: one for one in found}
    lines = [
        "# Plans",
        "",
        "`python -m benchmarks.plans`: what `hyperx plan` finds for batches of 1024 "
        "rows, condition 1024, inputs 1024, targets 256 tokens, bfloat16, every layer "
        "rematerialised. GiB are those of one chip: what lies there (parameters, "
        "optimizer state, batch), what the compiler needs at once, and what a program "
        "may have. FLOPs are matrix products of one chip and step, loops included, and "
        "as a multiple of plain T5's; collectives are the compiler's, the bodies of "
        "loops once. Compiled without TPUs: nothing here is a speed.",
        "",
        f"{sum(one['fits'] for one in found)} of {len(found)} fit.",
        "",
        "![Memory per chip](plans.png)",
    ]
    for size in SIZES:
        for generation in GENERATIONS:
            lines += _slice_table(named, size, generation)
    rest = [one for one in found if one["name"].count("-") > 2]
    if rest:
        lines += [
            "",
            "## Variations of HINT",
            "",
            "`rows1` is what published code does, one condition per row; `parts` are "
            "micro-batches; `dots` and `none` keep more for the backward pass; "
            "`decode` is evaluation, adaptation and decoding together.",
            "",
            f"| plan | slice | mesh | {_HEAD}",
            f"|---|---|---|{_RULE}",
        ]
        lines += [
            f"| {one['name']} | {one['topology']} | {_mesh(one)} | {_cells(one)} |"
            for one in rest
        ]
    return "\n".join([*lines, ""])


def _slice_table(
    named: Mapping[str, Found], size: str, generation: str
) -> Sequence[str]:
    """The methods on the slice that a size has of a generation."""
    of_methods = {
        label: named[name]
        for method, label in METHODS.items()
        if (name := f"{method}-{size}-{generation}") in named
    }
    if not of_methods:
        return ()
    one = next(iter(of_methods.values()))
    plain = of_methods.get(METHODS["t5"])
    return (
        "",
        f"## {size} on {one['topology']}: {one['chips']} chips, {_mesh(one)}",
        "",
        f"| | {_HEAD}",
        f"|---|{_RULE}",
        *(f"| {label} | {_cells(one, plain)} |" for label, one in of_methods.items()),
    )


def _cells(one: Found, plain: Found | None = None) -> str:
    programs = one["programs"]
    moved = sum(c["bytes"] for p in programs for c in p["collectives"].values())
    parts = one["micro_batches"] or 1
    flops = f"{_flops(one) / 1e12:.1f}"
    if plain is not None and plain is not one:
        flops += f" ({_flops(one) / _flops(plain):.2f} x)"
    cells = (
        f"{one['groups']} x {one['rows']}" + (f", {parts} parts" if parts > 1 else ""),
        f"{_there(one):.1f}",
        "?" if _peak(one) is None else f"{_peak(one):.1f}",
        f"{one['hbm'] / 2**30:.1f}",
        "fits" if one["fits"] else "**too large**",
        flops,
        f"{moved / 2**30:.2f} GiB" if one["fits"] else "",
        f"{sum(p['seconds']['compile'] for p in programs):.0f} s",
    )
    return " | ".join(cells)


def picture(found: Sequence[Found], path: pathlib.Path) -> None:
    """Memory needed beside what a chip has: a panel per size and generation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    named = {one["name"]: one for one in found}
    figure, grid = pyplot.subplots(
        len(SIZES), len(GENERATIONS), figsize=(12, 7), sharey=True, squeeze=False
    )
    for size, row in zip(SIZES, grid, strict=True):
        for generation, axes in zip(GENERATIONS, row, strict=True):
            _panel(axes, named, size, generation)
    for axes in grid[-1]:
        axes.set_xlabel("GiB per chip")
    figure.suptitle("at once (blue; red: too large), lying there (black), usable")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _panel(axes: Any, named: Mapping[str, Found], size: str, generation: str) -> None:
    labels = list(METHODS.values())[::-1]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for place, method in enumerate(reversed(METHODS)):
        one = named.get(f"{method}-{size}-{generation}")
        if one is None or _peak(one) is None:
            continue
        axes.barh(place, one["hbm"] / 2**30, color="0.92", edgecolor="0.7")
        colour = "tab:blue" if one["fits"] else "tab:red"
        axes.barh(place, _peak(one), color=colour, height=0.5)
        axes.barh(place, _there(one), color="0.15", height=0.2)
        axes.set_title(f"{size}, {one['topology']}", fontsize=9)


def _flops(one: Found) -> float:
    """Of one chip."""
    return sum(program["flops"] for program in one["programs"]) / one["chips"]


def _peak(one: Found) -> float | None:
    """GiB needed at once; None where the compiler gave up before it was known."""
    if one["programs"][-1]["peak"] is None:
        return None
    return max(program["peak"] for program in one["programs"]) / 2**30


def _there(one: Found) -> float:
    """GiB of parameters, optimizer state and batch."""
    return sum(one["programs"][-1]["arguments"].values()) / 2**30


def _mesh(one: Found) -> str:
    return " ".join(f"{axis} {n}" for axis, n in one["mesh"].items() if n > 1)
