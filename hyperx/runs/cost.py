"""What serving a task costs, by formulas, beside what one would do instead."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from hyperx import model
from hyperx.config import T5Config
from hyperx.costs import alternatives, serving
from hyperx.costs.stages import Alternative, Stage, Use
from hyperx.methods.method import Method
from hyperx.runs import cost_report

KEPT = "kept state"


def cost(
    *,
    examples: int = 100,
    condition_length: int = 512,
    input_length: int = 128,
    target_length: int = 32,
    rows: int = 32,
    beams: int = 1,
    dtype: str = "bfloat16",
    as_json: bool = False,
    output: str | os.PathLike[str] | None = None,
    backbone: T5Config,
    method: Method,
) -> dict[str, Any]:
    """Prints operations, bytes and memory of serving a task; allocates nothing.

    Args:
        examples: inputs of the task.
        condition_length: tokens of the condition (I).
        input_length: tokens of an input (S).
        target_length: tokens that are decoded (T).
        rows: inputs that are computed together.
        beams: of decoding.
        dtype: of activations and of what is kept; parameters are float32.
        as_json: print one JSON object instead of tables.
        output: a folder that receives ``cost.json`` and ``cost.png``.
        backbone: sizes of the T5.
        method: what adapts it.

    Returns:
        What is printed as JSON.

    Raises:
        ValueError: for a length or number below 1.
    """
    if examples < 1:
        raise ValueError(f"expected at least 1 example, got {examples}")
    backbone = dataclasses.replace(backbone, dtype=dtype)
    config = model.ModelConfig(backbone=backbone, method=method)
    use = Use(
        condition=condition_length,
        inputs=input_length,
        targets=target_length,
        rows=rows,
        beams=beams,
    )
    found = alternatives.of_model(config, use)
    told = {
        "method": type(method).__name__,
        "backbone": dataclasses.asdict(backbone),
        "use": dataclasses.asdict(use),
        "examples": examples,
        "decoder_only_layers": serving.decoder_only_layers(backbone),
        "alternatives": {
            name: _told(alternative, found[KEPT], use, examples)
            for name, alternative in found.items()
        },
    }
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        cost_report.show(told)
    if output is not None:
        _write(pathlib.Path(output), told)
    return told


def _told(
    alternative: Alternative, kept: Alternative, use: Use, examples: int
) -> dict[str, Any]:
    """Everything about an alternative, for JSON."""
    return {
        "once": _stages(alternative.once),
        "each": _stages(alternative.each),
        "flops": {
            "task": alternative.flops_once,
            "example": alternative.flops_each,
            "all_examples": alternative.flops(examples),
            "of_kept_state": alternative.flops(examples) / kept.flops(examples),
        },
        "moved": alternative.moved(examples),
        "memory": {
            "parameters": alternative.parameters,
            "task": alternative.task,
            "row": alternative.row,
            "one_task": alternative.memory(1, use.rows),
        },
        "break_even": kept.break_even(alternative),
    }


def _stages(stages: dict[str, Stage]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "flops": stage.work.flops,
            "of_weights": stage.work.weights,
            "of_attention": stage.work.attention,
            "moved": stage.moved,
        }
        for name, stage in stages.items()
    }


def _write(folder: pathlib.Path, told: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2) + "\n"
    (folder / "cost.json").write_text(text, encoding="utf-8")
    cost_report.draw(told, folder / "cost.png")
