"""Import: another library's checkpoint as a model directory of hyperx."""

import os
import pathlib
import shutil

from hyperx.checkpoints import description, huggingface
from hyperx.checkpoints.store import Store
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig
from hyperx.runs import models

_VOCABULARY = "spiece.model"


def from_huggingface(
    source: str | os.PathLike[str], to: str | os.PathLike[str]
) -> None:
    """Imports a Hugging Face T5 folder as a plain model at step 0.

    A vocabulary found in the folder (``spiece.model``) comes along.

    Args:
        source: folder with ``config.json`` and safetensors.
        to: new model directory; what INITIAL_CHECKPOINT_PATH takes.

    Raises:
        FileExistsError: if `to` is not empty.
        ValueError: if the folder holds no T5, or a pickle.
    """
    if pathlib.Path(to).exists() and any(pathlib.Path(to).iterdir()):
        raise FileExistsError(f"expected a new or empty directory, got {to}")
    backbone, params = huggingface.read(source)
    config = ModelConfig(backbone=backbone, method=Plain())
    with Store(pathlib.Path(to) / models.CHECKPOINTS) as store:
        store.save(0, {"params": params})
    vocabulary = None
    if (pathlib.Path(source) / _VOCABULARY).is_file():
        vocabulary = str(pathlib.Path(to).resolve() / _VOCABULARY)
        shutil.copyfile(pathlib.Path(source) / _VOCABULARY, vocabulary)
    description.write(to, models.describe(config, vocabulary, {}))
    print(f"imported {source} to {to}")
