"""Programs as they are compiled in a process that knows nothing of earlier ones."""

import contextlib
import dataclasses
import functools
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from benchmarks import random_models
from hyperx import model, sharding
from hyperx.backbone import steps
from hyperx.inference.decoding import Greedy, Requests
from hyperx.inference.programs import Programs
from hyperx.model import ModelConfig
from hyperx.optim.adafactor import Adafactor
from hyperx.runs import step as step_lib
from hyperx.runs.state import Recipe

TRAINING, DECODING = "training step", "decoding"
HIT = "/jax/compilation_cache/cache_hits"

Lower = Callable[[], jax.stages.Lowered]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A program to compile.

    Attributes:
        program: `TRAINING` or `DECODING`.
        config: of the model.
        sizes: of a batch.
        unrolled: whether scanned layers stand one after the other.
    """

    program: str
    config: ModelConfig
    sizes: Mapping[str, int]
    unrolled: bool = False

    @property
    def layers(self) -> int:
        return self.config.backbone.num_encoder_layers

    @property
    def name(self) -> str:
        if self.program == DECODING:
            return self.program
        return f"{self.program}, {'unrolled' if self.unrolled else 'scanned'}"

    def tokens(self, *axes: str | int) -> jax.ShapeDtypeStruct:
        """Tokens of such a shape; names are those of `sizes`."""
        shape = tuple(self.sizes.get(axis, axis) for axis in axes)
        return jax.ShapeDtypeStruct(shape, jnp.int32)


def compiled(job: Job, folder: str) -> dict[str, Any]:
    """Compiles a program.

    Args:
        job: what to compile.
        folder: of JAX's compilation cache.

    Returns:
        Seconds of tracing and compiling, bytes, and whether the cache had the program.
    """
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    mesh, hits = random_models.one_device(), []
    lowered, tracing = traced(job, mesh)
    jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
    start = time.perf_counter()
    with sharding.use(mesh):
        done = lowered.compile()
    compiling = time.perf_counter() - start
    memory = done.memory_analysis()
    return {
        "seconds_tracing": tracing,
        "seconds_compiling": compiling,
        "bytes_temporary": memory.temp_size_in_bytes,
        # What is given up is written over, and counted once.
        "bytes_at_once": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "bytes_compiling": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "from_cache": HIT in hits,
    }


def traced(job: Job, mesh: Mesh) -> tuple[jax.stages.Lowered, float]:
    """A program as it goes to the compiler, and the seconds that took."""
    with sharding.use(mesh), _layout(job):
        lower = {TRAINING: _training, DECODING: _decoding}[job.program](job, mesh)
        start = time.perf_counter()
        return lower(), time.perf_counter() - start


def _layout(job: Job) -> contextlib.AbstractContextManager[Any]:
    """Scanned layers as they are, or one after the other."""
    if not job.unrolled:
        return contextlib.nullcontext()
    unrolled = functools.partial(nn.scan, unroll=job.layers)
    return mock.patch.object(nn, "scan", unrolled)


def _training(job: Job, mesh: Mesh) -> Lower:
    """A function that traces a training step with Adafactor."""
    recipe = Recipe(job.config, Adafactor(learning_rate=1e-3))
    state = recipe.abstract(mesh)
    targets = job.tokens("groups", "rows", "targets")
    batch = {
        "condition_tokens": job.tokens("groups", "condition"),
        "encoder_tokens": job.tokens("groups", "rows", "inputs"),
        "decoder_input_tokens": targets,
        "decoder_target_tokens": targets,
        "decoder_loss_weights": jax.ShapeDtypeStruct(targets.shape, jnp.float32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = step_lib.compiled(step_lib.make_step(recipe), state)
    return lambda: step.lower(state, batch, key)


def _decoding(job: Job, mesh: Mesh) -> Lower:
    """A function that traces greedy decoding of one task's inputs."""
    config, length = job.config, job.sizes["targets"]
    params = model.abstract_parameters(config).shapes
    weights = jax.eval_shape(
        functools.partial(steps.weights_of, config.backbone), params
    )
    rows = job.sizes["groups"] * job.sizes["rows"]
    arguments = (
        params,
        weights,
        job.tokens(1, rows, "inputs"),
        model.abstract_state(config, job.sizes["condition"]),
        Requests.of(Greedy(), length).full(1, rows),
        Greedy().shape(length),
    )
    return lambda: Programs(config, mesh).generate.lower(*arguments)
