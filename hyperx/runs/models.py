"""Model directories: what lies in one, and a predictor from it."""

import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.checkpoints import description
from hyperx.checkpoints.store import Store, load_params
from hyperx.config import T5Config
from hyperx.data import vocabularies
from hyperx.inference.predictor import Predictor
from hyperx.model import ModelConfig, abstract_parameters
from hyperx.runs import exchange

CHECKPOINTS = "checkpoints"

# What may differ between the runs that train one model: how it is computed and fed.
FREE = (
    "model.backbone.dropout_rate",
    "model.backbone.dtype",
    "model.backbone.remat",
    "feature_lengths",
)


def describe(
    config: ModelConfig, vocabulary: str | None, feature_lengths: Mapping[str, int]
) -> dict[str, Any]:
    """The description of a model that is kept in its directory."""
    return {
        "model": config.to_json(),
        "vocabulary": vocabulary,
        "feature_lengths": dict(feature_lengths),
    }


def read_description(model_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """The description in a model directory.

    A vocabulary that lies in the directory itself, as of an import, is told by its
    path, wherever the directory has been moved.

    Raises:
        FileNotFoundError: if there is no model.
        ValueError: if the description is not JSON.
    """
    described = description.read(model_dir)
    own = epath.Path(model_dir) / exchange.VOCABULARY
    if described["vocabulary"] == own.name and own.is_file():
        described["vocabulary"] = os.fspath(own)
    return described


@functools.cache
def _vocabulary(name: str) -> Any:
    return vocabularies.get(name)


def vocabulary_of(described: Mapping[str, Any]) -> Any:
    """The vocabulary that a description names; None if it names none."""
    name = described["vocabulary"]
    return None if name is None else _vocabulary(name)


def check_vocabulary(name: str, backbone: T5Config) -> None:
    """Checks that every token has an embedding.

    Raises:
        ValueError: if the vocabulary is larger than the backbone's.
    """
    size = _vocabulary(name).vocab_size
    if size > backbone.vocab_size:
        raise ValueError(
            f"expected VOCAB_SIZE of at least {size} for vocabulary {name!r}, got "
            f"{backbone.vocab_size}"
        )


def check_same_vocabulary(model_dir: str | os.PathLike[str], vocabulary: str) -> None:
    """Checks that the tokens of a model mean what those of `vocabulary` do.

    Args:
        model_dir: of the model; one whose vocabulary is not known passes.
        vocabulary: name of the other one.

    Raises:
        ValueError: if they are different vocabularies.
    """
    name = read_description(model_dir)["vocabulary"]
    if name in (None, vocabulary) or vocabularies.same(name, vocabulary):
        return
    raise ValueError(
        f"expected the vocabulary of {model_dir}, {name!r}, got {vocabulary!r}, which "
        "is another one: its tokens would have the embeddings of others"
    )


def load(
    model_dir: str | os.PathLike[str],
    step: int | None = None,
    *,
    vocabulary: str | None = None,
    mesh: Mesh | None = None,
) -> Predictor:
    """Loads a trained or imported model for use.

    Args:
        model_dir: MODEL_DIR of a training run, or what ``hyperx import`` wrote.
        step: of the checkpoint; the newest if None.
        vocabulary: overrides the one that the model names.
        mesh: where to compute; the first device if None.

    Raises:
        FileNotFoundError: if there is no model or no such checkpoint.
        ValueError: if `vocabulary` has tokens that the model has not.
    """
    described = read_description(model_dir)
    if vocabulary is not None:
        described["vocabulary"] = vocabulary
    config = ModelConfig.from_json(described["model"])
    if vocabulary is not None:
        check_vocabulary(vocabulary, config.backbone)
    mesh = mesh or sharding.make_mesh(1, 1, devices=jax.devices()[:1])
    parameters = abstract_parameters(config)
    abstract = sharding.declared(parameters.shapes, parameters.axes, mesh)
    params = load_params(epath.Path(model_dir) / CHECKPOINTS, step, abstract)
    lengths = described["feature_lengths"]
    return Predictor(config, params, vocabulary_of(described), lengths, mesh)


def spread(config: ModelConfig) -> Any:
    """Abstract parameters, with shardings that spread them over all devices.

    Over as many as divide the width of every parameter; the others hold copies.
    """
    parameters = abstract_parameters(config)
    named = flatten_dict(parameters.axes)
    widths = [
        size
        for path, leaf in flatten_dict(parameters.shapes).items()
        for size, name in zip(leaf.shape, named[path], strict=True)
        if "fsdp" in sharding.RULES.get(name, ())
    ]
    fsdp = math.gcd(jax.device_count(), *widths)
    mesh = sharding.make_mesh(fsdp=fsdp)
    return sharding.declared(parameters.shapes, parameters.axes, mesh)


def latest_step(model_dir: str | os.PathLike[str]) -> int:
    """The newest checkpoint's step.

    Raises:
        FileNotFoundError: if there is none.
    """
    with Store(epath.Path(model_dir) / CHECKPOINTS) as store:
        step = store.latest()
    if step is None:
        raise FileNotFoundError(f"expected a checkpoint in {model_dir}, found none")
    return step
