"""Adapting: a condition in, a file with the generated weights out."""

import os
from collections.abc import Sequence

import jax

from hyperx.runs import exchange, models
from hyperx.task_state import TaskState


def adapt(
    *,
    model_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    condition: str | Sequence[str] | None = None,
    step: int | None = None,
) -> TaskState:
    """Writes the task state of a condition, or of several.

    Args:
        model_dir: of a trained model.
        output: path of the safetensors file, replaced once the state is complete;
            `hyperx.load_state` reads it.
        condition: what the hypernetwork reads: texts, or names of tasks. None for a
            model that reads none.
        step: of the checkpoint; the newest if None.

    Returns:
        The state.

    Raises:
        FileNotFoundError: without a model, or a folder for the output.
        ValueError: for a condition that is missing, or that the model cannot read, or
            an output that is no file on a disk.
    """
    check_folder(output)
    state = models.load(model_dir, step).adapt(condition)
    state.save(output)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    conditions = f"{state.groups} condition{'s' if state.groups > 1 else ''}"
    print(f"{output}: {conditions}, {numbers:,} numbers, {state.nbytes:,} bytes")
    return state


def check_folder(output: str | os.PathLike[str]) -> None:
    """Refuses a file that could not be written once all is computed.

    Raises:
        FileNotFoundError: if its folder does not exist.
        ValueError: if it is an address: files are written to disks only.
    """
    folder = exchange.on_disk(output).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"expected a folder for the output, got {folder}")
