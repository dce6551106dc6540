"""The description of a model, kept as JSON beside its checkpoints."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

FILE = "model.json"


def write(
    model_dir: str | os.PathLike[str],
    description: Mapping[str, Any],
    free: Sequence[str] = (),
    *,
    replace: bool = False,
) -> None:
    """Writes the description of `model_dir`, the first one or another of its model.

    Of a job with several processes the first one writes.

    Args:
        model_dir: created where missing.
        description: anything that JSON can hold.
        free: fields, such as ``a.b``, in which it may differ from the one there.
        replace: whether to replace even another model's, as of a run that never came
            to save anything.

    Raises:
        ValueError: if the directory holds another model.
    """
    path = epath.Path(model_dir) / FILE
    description = json.loads(json.dumps(description))
    if path.exists() and not replace:
        different = compare(description, read(model_dir))
        differences = [line for line in different if not line.startswith(tuple(free))]
        if differences:
            raise ValueError(
                f"{path} describes another model: "
                + "; ".join(differences)
                + ". Choose another MODEL_DIR, or the settings it was trained with"
            )
    if jax.process_index():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(description, indent=2) + "\n")
    partial.replace(path)


def read(model_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the description of the model in `model_dir`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not JSON.
    """
    path = epath.Path(model_dir) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a trained or imported model in {model_dir}, found no {FILE}"
        )
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON in {path}, got: {error}") from error


def compare(expected: Any, received: Any, path: str = "") -> list[str]:
    """Differences of two JSON values, one line for each."""
    if isinstance(expected, dict) and isinstance(received, dict):
        return [
            line
            for key in sorted(expected.keys() | received.keys())
            for line in compare(
                expected.get(key), received.get(key), f"{path}.{key}" if path else key
            )
        ]
    if expected == received:
        return []
    return [f"{path}: expected {expected!r}, got {received!r}"]
