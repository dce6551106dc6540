"""Export: a model's parameters in another library's format."""

import os
import pathlib
import shutil
from typing import Any

from hyperx.checkpoints import description
from hyperx.checkpoints.huggingface import writing as huggingface
from hyperx.checkpoints.store import load_params
from hyperx.checkpoints.t5x import writing as t5x
from hyperx.model import ModelConfig
from hyperx.runs import exchange, models

HYPERNETWORK = "hypernetwork"
_SIZES = {"float32": 4, "bfloat16": 2}


def export(
    model_dir: str | os.PathLike[str],
    to: str,
    output: str | os.PathLike[str],
    *,
    step: int | None = None,
    dtype: str = "float32",
    backbone_only: bool = False,
) -> None:
    """Writes a checkpoint of a model for t5x or Hugging Face transformers.

    Parameters are float32; as bfloat16 they are rounded, unless they came from there
    and did not train.

    Args:
        model_dir: of a trained or imported model.
        to: ``t5x``, whose tree holds a hypernetwork too, or ``hf``.
        output: a new folder, complete or not there.
        step: of the checkpoint; the newest if None.
        dtype: ``float32`` or ``bfloat16``.
        backbone_only: whether to leave out the hypernetwork.

    Raises:
        FileExistsError: if `output` is not empty.
        FileNotFoundError: if there is no model or no such checkpoint.
        ValueError: if the format cannot hold the model.
    """
    described = description.read(model_dir)
    config = ModelConfig.from_json(described["model"])
    abstract = models.spread(config)
    if to == "hf" and HYPERNETWORK in abstract and not backbone_only:
        raise ValueError(
            f"expected a plain T5 for Hugging Face, got {type(config.method).__name__} "
            f"with a hypernetwork, which their T5 has no place for: --backbone_only "
            "leaves it out"
        )
    step = models.latest_step(model_dir) if step is None else step
    with exchange.new_folder(output) as folder:
        params = load_params(
            pathlib.Path(model_dir) / models.CHECKPOINTS, step, abstract
        )
        if backbone_only:
            params.pop(HYPERNETWORK, None)
        with exchange.bar("export", params, _SIZES[dtype]) as shown:
            how: dict[str, Any] = {"dtype": dtype, "progress": shown.update}
            if to == "hf":
                huggingface.write(folder, config.backbone, params, **how)
                _copy_vocabulary(described["vocabulary"], folder)
            else:
                t5x.write(folder, params, step=step, **how)
    print(f"exported step {step} of {model_dir} to {output}")


def _copy_vocabulary(name: str | None, folder: pathlib.Path) -> None:
    """A SentencePiece model on disk comes along, as an import takes it."""
    if name is not None and pathlib.Path(name).is_file():
        shutil.copyfile(name, folder / exchange.VOCABULARY)
