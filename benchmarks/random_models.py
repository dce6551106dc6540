"""Models of published sizes with random weights that never end an output."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from hyperx import model, sharding
from hyperx.backbone.t5 import EOS, PAD
from hyperx.config import T5Config, t5_1_1
from hyperx.data import startup
from hyperx.methods.hint import Hint
from hyperx.model import ModelConfig

# HINT's of T5 v1.1 small, as gin/backbones/t5_1_1_small.gin has them.
BOTTLENECK, PREFIX_LENGTH = 8, 7


def hint(backbone: T5Config) -> ModelConfig:
    """HINT with the published sizes of its generator for T5 small."""
    method = Hint(bottleneck=BOTTLENECK, prefix_length=PREFIX_LENGTH)
    return ModelConfig(backbone=backbone, method=method)


def backbone(*, quick: bool) -> T5Config:
    """T5 v1.1 small; or, in a hurry, a tiny one."""
    return t5_1_1("tiny", vocab_size=384) if quick else t5_1_1("small")


def one_device() -> Mesh:
    """The mesh of the first device."""
    return sharding.make_mesh(1, 1, devices=jax.devices()[:1])


def parameters(config: ModelConfig, mesh: Mesh) -> dict[str, Any]:
    """Initial parameters under which neither EOS nor padding is ever likely.

    Their logits are zero, and of those of other tokens many are greater.
    """

    def initial(key: jax.Array) -> dict[str, Any]:
        return _endless(model.init(config, key))

    with sharding.use(mesh):
        return jax.jit(initial)(jax.random.key(0))


def save(
    config: ModelConfig, folder: pathlib.Path, feature_lengths: Mapping[str, int]
) -> None:
    """Writes a model of bytes with random weights, as `hyperx serve` takes it."""
    startup.prepare_tensorflow()
    from hyperx.checkpoints import description
    from hyperx.checkpoints.store import Store
    from hyperx.runs import models

    with Store(folder / models.CHECKPOINTS) as store:
        store.save(0, {"params": parameters(config, one_device())})
    description.write(folder, models.describe(config, "bytes", feature_lengths))


def random_tokens(config: ModelConfig, *shape: int, seed: int) -> np.ndarray:
    """Tokens of which none ends a text."""
    vocabulary = config.backbone.vocab_size
    return np.random.default_rng(seed).integers(EOS + 1, vocabulary, shape, np.int32)


def _endless(params: Mapping[str, Any]) -> dict[str, Any]:
    decoder = params["decoder"]
    kernel = decoder["logits_dense"]["kernel"].at[:, [PAD, EOS]].set(0.0)
    return params | {"decoder": decoder | {"logits_dense": {"kernel": kernel}}}
