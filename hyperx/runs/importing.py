"""Import: another library's checkpoint as a model directory of hyperx."""

import os
import pathlib
import shutil
from typing import Any

from hyperx.checkpoints import description
from hyperx.checkpoints.huggingface import reading as huggingface
from hyperx.checkpoints.store import Store
from hyperx.checkpoints.t5x import reading as t5x
from hyperx.checkpoints.t5x import sizes
from hyperx.config import T5Config
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig
from hyperx.runs import configuration, exchange, models


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
    with exchange.new_folder(to) as folder:
        backbone, params = huggingface.read(source)
        config = ModelConfig(backbone=backbone, method=Plain())
        _save(folder, params)
        vocabulary = None
        found = pathlib.Path(source) / exchange.VOCABULARY
        if found.is_file():
            vocabulary = found.name  # Of a file in the folder: see `models`.
            shutil.copyfile(found, folder / found.name)
        description.write(folder, models.describe(config, vocabulary, {}))
    print(f"imported {source} to {to}")


def from_t5x(
    source: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    backbone_only: bool = False,
) -> None:
    """Imports the parameters of a t5x checkpoint as a plain model at step 0.

    Args:
        source: a ``checkpoint_<step>`` of t5x.
        to: new model directory; what INITIAL_CHECKPOINT_PATH takes.
        config: a gin file whose BACKBONE the checkpoint is of; without one sizes are
            taken from the shapes.
        backbone_only: whether to leave out parameters that are not a T5's.

    Raises:
        FileExistsError: if `to` is not empty.
        FileNotFoundError: if `source` is no checkpoint.
        ValueError: if its parameters are not those of the backbone.
    """
    with exchange.new_folder(to) as folder:
        checkpoint = t5x.open_checkpoint(source)
        backbone = sizes.infer(checkpoint.shapes) if config is None else _read(config)
        model_config = ModelConfig(backbone=backbone, method=Plain())
        abstract = models.spread(model_config)
        with exchange.bar("import", abstract, 4) as shown:
            params = t5x.read(
                checkpoint, abstract, backbone_only=backbone_only, progress=shown.update
            )
        _save(folder, params)
        description.write(folder, models.describe(model_config, None, {}))
    print(f"imported {source} to {to}: {_summary(backbone)}")


def _save(folder: pathlib.Path, params: Any) -> None:
    with Store(folder / models.CHECKPOINTS) as store:
        store.save(0, {"params": params})


def _read(config: str | os.PathLike[str]) -> T5Config:
    configuration.parse([config])
    backbone = configuration.macro("BACKBONE")
    if not isinstance(backbone, T5Config):
        raise ValueError(f"expected a T5 as BACKBONE in {config}, got {backbone!r}")
    return backbone


def _summary(backbone: T5Config) -> str:
    return (
        f"vocabulary {backbone.vocab_size}, width {backbone.embed_dim}, "
        f"{backbone.num_heads} heads of {backbone.head_dim}, MLP {backbone.mlp_dim} "
        f"({', '.join(backbone.mlp_activations)}), {backbone.num_encoder_layers} + "
        f"{backbone.num_decoder_layers} layers, "
        f"{'tied' if backbone.tie_embeddings else 'own'} output head"
    )
