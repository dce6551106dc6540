"""Export: a model's parameters, or a task state, in another library's format."""

import os
import pathlib
from typing import Any

import jax
from etils import epath

from hyperx.checkpoints.huggingface import writing as huggingface
from hyperx.checkpoints.store import load_params
from hyperx.checkpoints.t5x import writing as t5x
from hyperx.inference import merging
from hyperx.inference.predictor import Predictor
from hyperx.model import ModelConfig
from hyperx.runs import exchange, models
from hyperx.runs.exits import described as json_folder
from hyperx.runs.exits import peft
from hyperx.task_state import TaskState, load_state

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
    described = models.read_description(model_dir)
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
        checkpoints = epath.Path(model_dir) / models.CHECKPOINTS
        params = load_params(checkpoints, step, abstract)
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


def export_state(
    state: str | os.PathLike[str],
    to: str,
    output: str | os.PathLike[str],
    *,
    model_dir: str | os.PathLike[str] | None = None,
    step: int | None = None,
    dtype: str = "float32",
) -> None:
    """Writes a task state for other runtimes.

    Args:
        state: the file, from ``hyperx adapt`` or ``hyperx tune``.
        to: ``peft``, a folder that PEFT loads onto the backbone's Hugging Face T5;
            ``hf``, a Hugging Face T5 with the state merged into its kernels; ``json``,
            the arrays and a description of how to apply them.
        output: a new folder, complete or not there.
        model_dir: of the model that made the state, which is then checked; needed for
            ``hf``.
        step: of the model's checkpoint; the newest if None.
        dtype: of what is written, except for ``json``: a state has its own there.

    Raises:
        FileExistsError: if `output` is not empty.
        FileNotFoundError: if there is no state, model or checkpoint.
        ValueError: if the format cannot hold the state, or another model made it.
    """
    if to == "hf" and model_dir is None:
        raise ValueError(
            "expected the model that the state is merged into (--model_dir), got none"
        )
    found = load_state(state)
    predictor = None if model_dir is None else models.load(model_dir, step)
    if predictor is not None:
        _check_own(found, predictor)
    with exchange.new_folder(output) as folder:
        match to:
            case "peft":
                bias = None if predictor is None else _relative_bias(predictor)
                peft.write(folder, found, dtype=dtype, bias=bias)
            case "hf":
                _write_merged(folder, found, predictor, dtype)
                vocabulary = models.read_description(model_dir)["vocabulary"]
                _copy_vocabulary(vocabulary, folder)
            case "json":
                config = None if predictor is None else predictor.config
                json_folder.write(folder, found, config)
            case _:
                raise ValueError(f"expected to be peft, hf or json, got {to!r}")
    print(f"exported {state} to {output}")


def _check_own(state: TaskState, predictor: Predictor) -> None:
    """Refuses a state of another model, or of one that it is not all of.

    Raises:
        ValueError: if so.
    """
    if state.fingerprint != predictor.fingerprint:
        raise ValueError(
            f"expected a state of model {predictor.fingerprint}, got one of model "
            f"{state.fingerprint or '(unknown)'}; --step chooses another checkpoint"
        )
    config = predictor.config
    hypernetwork = config.method.hypernetwork(config.backbone)
    if hypernetwork is not None and hypernetwork.instance is not None:
        raise ValueError(
            "expected a model whose weights are kept in states, got "
            f"{type(config.method).__name__}, which writes them for every single input"
        )


def _relative_bias(predictor: Predictor) -> jax.Array:
    """The decoder's table ``[H, buckets]``."""
    return predictor.params["decoder"]["relpos_bias"]["rel_embedding"]


def _write_merged(
    folder: pathlib.Path, state: TaskState, predictor: Predictor, dtype: str
) -> None:
    merged = merging.merge(predictor.params, state)
    with exchange.bar("export", merged, _SIZES[dtype]) as shown:
        huggingface.write(
            folder,
            predictor.config.backbone,
            merged,
            dtype=dtype,
            progress=shown.update,
        )


def _copy_vocabulary(name: str | None, folder: pathlib.Path) -> None:
    """A SentencePiece model on disk comes along, as an import takes it."""
    if name is not None and epath.Path(name).is_file():
        (folder / exchange.VOCABULARY).write_bytes(epath.Path(name).read_bytes())
