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
VARIED = ("hint-xl-v4", "hint-xl-v5p")
_NEEDED = {True: "tab:blue", False: "tab:red"}  # by whether it fits
_THERE, _USABLE = "0.15", "0.92"
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
        "loops once. Compiled without TPUs: nothing here is a speed, and how long "
        "compiling took depends on what else the machine did.",
        "",
        f"{sum(one['fits'] for one in found)} of {len(found)} fit.",
        "",
        "![Memory per chip](plans.png)",
    ]
    for size in SIZES:
        for generation in GENERATIONS:
            lines += _slice_table(named, size, generation)
    return "\n".join([*lines, *_variations(named), ""])


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


def _variations(named: Mapping[str, Found]) -> Sequence[str]:
    """Variations of a method beside what they vary."""
    names = [name for name in named if name.count("-") > 2]
    if not names:
        return ()
    names = sorted([*names, *(name for name in VARIED if name in named)])
    return (
        "",
        "## Variations of HINT",
        "",
        "`rows1` is what published code does, one condition per row; `parts` are "
        "micro-batches; `dots` and `none` keep more for the backward pass; "
        "`decode` is evaluation, adaptation and decoding together.",
        "",
        f"| plan | slice | mesh | {_HEAD}",
        f"|---|---|---|{_RULE}",
        *(
            f"| {name} | {one['topology']} | {_mesh(one)} | {_cells(one)} |"
            for name, one in ((name, named[name]) for name in names)
        ),
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
    shown = [one for name, one in named.items() if name.count("-") == 2]
    _legend(figure, too_large=not all(one["fits"] for one in shown))
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _panel(axes: Any, named: Mapping[str, Found], size: str, generation: str) -> None:
    axes.set_title(f"{size} {generation}", fontsize=9)
    labels = list(METHODS.values())[::-1]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    for place, method in enumerate(reversed(METHODS)):
        one = named.get(f"{method}-{size}-{generation}")
        if one is None or _peak(one) is None:
            continue
        axes.barh(place, one["hbm"] / 2**30, color=_USABLE, edgecolor="0.7")
        axes.barh(place, _peak(one), color=_NEEDED[one["fits"]], height=0.5)
        axes.barh(place, _there(one), color=_THERE, height=0.2)
        axes.set_title(f"{size}, {one['topology']}", fontsize=9)


def _legend(figure: Any, too_large: bool) -> None:
    from matplotlib import patches

    meanings = {
        "parameters, optimizer state, batch": _THERE,
        "needed at once": _NEEDED[True],
        **({"needed at once, too large": _NEEDED[False]} if too_large else {}),
        "what a program may have": _USABLE,
    }
    handles = [patches.Patch(color=c, label=label) for label, c in meanings.items()]
    figure.legend(
        handles=handles, loc="upper center", ncols=len(handles), frameon=False
    )


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
