"""What to change about a program that does not fit."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from hyperx.config import T5Config

Axes = Mapping[str, int]  # sizes of the mesh axes, by name

# A change is worth telling if it saves this share of a chip's memory.
_WORTH = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What may be changed about a run.

    Attributes:
        axes: of the mesh.
        backbone: the T5.
        conditioned: whether rows of a group share a condition that is read once.
        groups: conditions in a batch (G).
        rows: rows per condition (R).
        micro_batches: parts of a batch; None for decoding.
        kept: bytes per chip, on a mesh of other axes, of what a program keeps: its
            parameters and its optimizer's state. None where that mesh does not suit.
    """

    axes: Axes
    backbone: T5Config
    conditioned: bool
    groups: int
    rows: int
    micro_batches: int | None
    kept: Callable[[Axes], int | None]


def suggestions(setting: Setting, temporary: int, hbm: float) -> list[str]:
    """Changes that make a program smaller, those that apply, the strongest first.

    Args:
        setting: of the run.
        temporary: bytes per chip that are not arguments.
        hbm: bytes of a chip.
    """
    kept = setting.kept(setting.axes) or 0
    meshes, least = _meshes(setting, kept, hbm)
    batches = _batches(setting) if temporary > _WORTH * hbm and kept < hbm else []
    found = meshes + batches if kept > temporary else batches + meshes
    if not found or least > hbm:
        found.append(
            f"a larger slice: these {math.prod(setting.axes.values())} chips have no "
            "place for it"
        )
    return found


def _meshes(setting: Setting, kept: int, hbm: float) -> tuple[list[str], int]:
    """Meshes over the same chips that split more of what is kept.

    Returns:
        For each axis the smallest that leaves half of the memory, or else the largest;
        and the bytes per chip that the best of them keeps.
    """
    found, least = [], kept
    for axis, macro in (("model", "MODEL_PARALLEL"), ("fsdp", "FSDP")):
        axes, now = dict(setting.axes), kept
        while not axes["data"] % 2 and (now > hbm / 2 or now == kept):
            wider = axes | {"data": axes["data"] // 2, axis: axes[axis] * 2}
            other = setting.kept(wider) if _suits(setting, wider) else None
            if other is None:
                break
            axes, now = wider, other
        if kept - now > _WORTH * hbm:
            told = ",".join(f"{name}={size}" for name, size in axes.items())
            found.append(
                f"--mesh={told} ({macro}={axes[axis]}): {_gib(now)} GiB of parameters "
                f"and optimizer state per chip instead of {_gib(kept)}"
            )
        least = min(least, now)
    return found, least


def _suits(setting: Setting, axes: Axes) -> bool:
    """Whether what is computed divides by the axes of a mesh."""
    backbone = setting.backbone
    sizes = (backbone.num_heads, backbone.mlp_dim, backbone.vocab_size)
    return not any(size % axes["model"] for size in sizes)


def _batches(setting: Setting) -> list[str]:
    """Ways of computing less at a time."""
    groups, rows, parts = setting.groups, setting.rows, setting.micro_batches
    chips = setting.axes["data"] * setting.axes["fsdp"]
    halves = not groups % (2 * chips * (parts or 1))
    if parts is None:
        fewer = [f"EVAL_GROUPS={groups // 2}: half of the conditions at a time"]
        shorter = [f"EVAL_ROWS={rows // 2}: half of the rows at a time"]
        return fewer * halves + shorter * (rows > 1)
    found = []
    if halves:
        found += [
            f"MICRO_BATCHES={2 * parts}: {groups // (2 * parts)} conditions x {rows} "
            "rows at a time, the same gradients",
            f"BATCH_SIZE={groups * rows // 2}: half of the batch",
        ]
    if setting.backbone.remat != "full":
        found.append(
            'REMAT="full": layers keep no more than their input for the backward pass'
        )
    if setting.conditioned and halves:
        found.append(
            f"ROWS={2 * rows}: {groups // 2} conditions to read instead of {groups}, "
            "for as many rows"
        )
    return found


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f}"
