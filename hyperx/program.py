"""What a compiled program says about itself: its collectives, read off its text."""

import dataclasses
import math
import re

KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)

_RESULT = r"^ *(?:ROOT )?\S+ = (?P<type>\(.*?\)|\S+)"
# Of an asynchronous pair the second half has the result. TPUs spread a collective over
# several fusions, in which its channel occurs again.
_COLLECTIVE = re.compile(
    rf"{_RESULT} (?P<kind>{'|'.join(KINDS)})(?:-done)?\("
    r"(?:.* channel_id=(?P<channel>\d+))?"
)
# On TPUs a reduction of which a device keeps its part is a fusion over a computation
# that begins with the whole reduction.
_FUSED_SCATTER = re.compile(rf"{_RESULT} fusion\(.* calls=%?all-reduce-scatter")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>\S+) .*\{$")
_ARRAY = re.compile(r"\b(?P<dtype>[a-z]+[0-9a-z]*)\[(?P<shape>[0-9,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collectives:
    """Collectives of one kind.

    Attributes:
        count: instructions of that kind.
        bytes: of their results, on one device.
    """

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Collectives]:
    """Collectives of a compiled program, by kind.

    An instruction counts once: also in the body of a loop, which may run it often, and
    also if it is asynchronous, a start and its end.

    Args:
        text: HLO of one device's program, as of ``compiled.as_text()``.

    Returns:
        The kinds that occur, in the order of `KINDS`.
    """
    found: dict[str, list[int]] = {}
    channels, computation = set(), ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header["name"]
        elif scatter := _FUSED_SCATTER.match(line):
            found.setdefault("reduce-scatter", []).append(_bytes(scatter["type"]))
        elif computation.startswith("all-reduce-scatter"):
            continue
        elif (one := _COLLECTIVE.match(line)) and one["channel"] not in channels:
            channels |= {one["channel"]} - {None}
            found.setdefault(one["kind"], []).append(_bytes(one["type"]))
    return {
        kind: Collectives(len(found[kind]), sum(found[kind]))
        for kind in KINDS
        if kind in found
    }


def _bytes(type_: str) -> int:
    """Bytes of an array type such as ``bf16[8,128]{1,0}``, or of a tuple of them."""
    total = 0
    for array in _ARRAY.finditer(type_):
        elements = math.prod(int(n) for n in array["shape"].split(",") if n)
        total += elements * _bits(array["dtype"]) // 8
    return total


def _bits(dtype: str) -> int:
    """Bits of one element; the name has them, but for truth values and tokens."""
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else {"pred": 8, "token": 0}[dtype]
