"""Strict settings for every test, and small models to test with."""

import logging
import os
import pathlib
from importlib.metadata import version

# Compiling dominates these tests: spend no time on optimising what runs once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    if version("jaxlib").startswith("0.10.")
    else "--xla_backend_optimization_level=0",  # Later ones have one emitter only.
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

from hyperx import config, model, sharding  # noqa: E402
from hyperx.methods import hint  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """Programs are kept on disk, as many tests compile the same ones.

    Where JAX_COMPILATION_CACHE_DIR says, the next run finds them, too.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = tmp_path_factory.getbasetemp() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(autouse=True)
def _own_logging():
    """Undoes what the command line does to hyperx's logger."""
    logger = logging.getLogger("hyperx")
    yield
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def data_dir() -> pathlib.Path:
    """Real data in its upstream layout; tests skip where it is absent."""
    default = pathlib.Path(__file__).parents[2] / "shared" / "data"
    path = pathlib.Path(os.environ.get("HYPERX_TEST_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no data in {path}; set HYPERX_TEST_DATA")
    return path


@pytest.fixture
def mesh():
    """One device, ambient for the test."""
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])) as mesh:
        yield mesh


TINY = config.t5_1_1(
    "tiny", embed_dim=32, head_dim=12, mlp_dim=48, vocab_size=64, num_decoder_layers=3
)


def tiny_hint(backbone: config.T5Config = TINY, **fields) -> model.ModelConfig:
    """A HINT of a few thousand parameters; H * K differs from D."""
    sizes = dict(bottleneck=4, prefix_length=2) | fields
    return model.ModelConfig(backbone=backbone, method=hint.Hint(**sizes))


def initial_params(config: model.ModelConfig, seed: int = 0):
    """Initial parameters; needs an ambient mesh."""
    return jax.jit(lambda key: model.init(config, key))(jax.random.key(seed))


def random_batch(
    groups: int = 4, rows: int = 2, seed: int = 0, vocab: int = 64, padded: bool = True
) -> dict[str, jax.Array]:
    """Tokens of a grouped batch, right-padded to different lengths."""
    keys = iter(jax.random.split(jax.random.key(seed), 8))

    def tokens(*shape: int) -> jax.Array:
        values = jax.random.randint(next(keys), shape, 2, vocab)
        lengths = jax.random.randint(next(keys), (*shape[:-1], 1), 2, shape[-1] + 1)
        positions = jnp.broadcast_to(jnp.arange(shape[-1]), shape)
        keep = positions < jnp.broadcast_to(lengths, shape)
        return jnp.where(keep, values, 0) if padded else values

    targets = tokens(groups, rows, 5)
    shifted = jnp.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0)))
    return {
        "condition_tokens": tokens(groups, 7),
        "encoder_tokens": tokens(groups, rows, 6),
        "decoder_input_tokens": shifted,
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets != 0).astype(jnp.float32),
    }
