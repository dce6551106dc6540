"""Planning: whether a run fits a TPU slice, compiled before there is one."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from hyperx import model, sharding
from hyperx.config import T5Config
from hyperx.methods.method import Method
from hyperx.objectives.objective import Objective
from hyperx.optim.optimizers import Optimizer
from hyperx.runs.planning import outcomes, report
from hyperx.runs.planning.advice import Axes, Setting, suggestions
from hyperx.runs.planning.outcomes import Outcome
from hyperx.runs.planning.programs import Decoding, Training
from hyperx.runs.planning.slices import Slice
from hyperx.runs.state import Recipe
from hyperx.runs.train import TrainingData


def plan(
    *,
    topology: str,
    mesh: str | None = None,
    slices: int = 1,
    decode: bool = False,
    as_json: bool = False,
    backbone: T5Config,
    method: Method,
    data: TrainingData,
    optimizer: Optimizer,
    objectives: Sequence[Objective] = (),
    frozen: Sequence[str] = (),
    rate_factors: Mapping[str, float] | None = None,
    micro_batches: int = 1,
    z_loss: float = 0.0,
    fsdp: int = 1,
    model_parallel: int = 1,
    eval_groups: int = 8,
    eval_rows: int = 16,
    dtype: str = "bfloat16",
) -> dict[str, Any]:
    """Compiles what a run computes for a slice and prints what it needs of a chip.

    No data are read, no parameters made.

    Args:
        topology: the slice, such as ``v4:4x4x8``: a generation of TPUs and its shape.
        mesh: sizes of the mesh axes, such as ``data=32,model=4``; those left out are
            `fsdp`, `model_parallel` and what remains.
        slices: how many of them, connected by the data centre's network.
        decode: plan evaluation's decoding instead of training.
        as_json: print one JSON object instead of tables.
        backbone: sizes of the T5.
        method: what adapts it.
        data: what is trained on; shapes alone are used.
        optimizer: as the others below, see `hyperx.runs.train.train`.
        objectives: see there.
        frozen: see there.
        rate_factors: see there.
        micro_batches: see there.
        z_loss: see there.
        fsdp: see there.
        model_parallel: see there.
        eval_groups: conditions that are decoded together.
        eval_rows: rows per condition that are decoded together.
        dtype: of activations; this machine's own would be another one.

    Returns:
        What is printed as JSON; ``fits`` tells whether all of it does.

    Raises:
        ValueError: if there is no such slice, no libtpu, or the mesh does not suit.
    """
    chips = Slice.parse(topology, slices)
    axes = chips.mesh_axes(mesh, fsdp=fsdp, model=model_parallel)
    on = sharding.make_mesh(**axes, devices=chips.devices())
    config = model.ModelConfig(
        backbone=dataclasses.replace(backbone, dtype=dtype), method=method
    )
    if decode:
        job = Decoding(
            config=config,
            feature_lengths=data.feature_lengths,
            groups=eval_groups,
            rows=eval_rows,
        )
    else:
        job = Training(
            recipe=Recipe(config, optimizer, frozen, rate_factors),
            data=data,
            micro_batches=micro_batches,
            z_loss=z_loss,
            objectives=objectives,
        )
    found = job.outcomes(on)
    setting = Setting(
        axes=axes,
        backbone=config.backbone,
        conditioned=method.reads == "condition",
        groups=job.groups,
        rows=job.rows,
        micro_batches=job.micro_batches,
        kept=lambda other: _kept(job, other, on),
    )
    told = _told(chips, config, data.feature_lengths, setting, found)
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        report.show(told)
    return told


def _kept(job: Training | Decoding, axes: Axes, mesh: Mesh) -> int | None:
    """Bytes per chip of what a job keeps, with other axes over the same chips."""
    try:
        other = sharding.make_mesh(**axes, devices=mesh.devices.ravel())
        return outcomes.per_chip(job.kept(other))
    except ValueError:  # an array does not divide
        return None


def _told(
    chips: Slice,
    config: model.ModelConfig,
    feature_lengths: Mapping[str, int],
    setting: Setting,
    found: Sequence[Outcome],
) -> dict[str, Any]:
    """Everything about a plan, for JSON."""
    fits, hbm = all(outcome.fits for outcome in found), chips.chip.usable * 2**30
    temporary = max(outcome.memory.get("temporary", 0) for outcome in found)
    shapes = model.abstract_parameters(config).shapes
    return {
        "fits": fits,
        "topology": chips.name,
        "slices": chips.count,
        "chips": chips.chips,
        "hbm": round(hbm),
        "mesh": dict(setting.axes),
        "method": type(config.method).__name__,
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)),
        "dtype": config.backbone.dtype,
        "remat": config.backbone.remat,
        "groups": setting.groups,
        "rows": setting.rows,
        "micro_batches": setting.micro_batches,
        "feature_lengths": dict(feature_lengths),
        "programs": [dataclasses.asdict(outcome) for outcome in found],
        "suggestions": [] if fits else suggestions(setting, temporary, hbm),
    }
