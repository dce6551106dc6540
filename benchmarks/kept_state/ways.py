"""Ways to serve a task, as programs: a kept state, concatenation, reference mode.

Lengths are exact in all of them; `hyperx.inference.predictor` would pad those of
concatenation, which are no round ones, to the next power of two.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks import random_models
from benchmarks.kept_state import reference_mode
from hyperx import sharding
from hyperx.backbone import steps
from hyperx.costs.stages import Use
from hyperx.inference.decoding import Beam, Greedy, Requests, Shape
from hyperx.inference.programs import Programs
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig
from hyperx.task_state import TaskState

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to serve a task.

    Attributes:
        serve: ``(inputs [R, S], started, limit) -> tokens [R, W, T]``, the best
            hypothesis of every row first; `limit` is of new tokens.
        start: what is done once, ``(condition [I]) -> started``.
    """

    serve: Callable[[np.ndarray, Any, int], jax.Array]
    start: Callable[[np.ndarray], Any]


def kept_state(config: ModelConfig, params: Params, use: Use) -> Way:
    """The condition is read once, and its state serves all inputs."""
    adapt, generate = programs(config, params, use.beams, use.targets)
    return Way(generate, lambda condition: adapt(condition[None]))


def concatenation(config: ModelConfig, params: Params, use: Use) -> Way:
    """A plain T5 with the same backbone reads the condition before every input."""
    plain = dataclasses.replace(config, method=Plain(reads="prompt"))
    shared = {name: own for name, own in params.items() if name != "hypernetwork"}
    adapt, generate = programs(plain, shared, use.beams, use.targets)
    nothing = adapt(None)

    def serve(inputs: np.ndarray, condition: np.ndarray, limit: int) -> jax.Array:
        prompts = np.concatenate([_for_each(inputs, condition), inputs], axis=1)
        return generate(prompts, nothing, limit)

    return Way(serve, lambda condition: condition)


def reference(config: ModelConfig, params: Params, use: Use) -> Way:
    """Every row reads the condition; see `benchmarks.kept_state.reference_mode`."""
    request, shape = _decoding(use.beams, use.targets)
    mesh = random_models.one_device()
    generate = jax.jit(
        functools.partial(reference_mode.generate, config.build()),
        static_argnames="shape",
    )

    def serve(inputs: np.ndarray, condition: np.ndarray, limit: int) -> jax.Array:
        conditions = _for_each(inputs, condition)
        requests = request.replace(limit=np.int32(limit)).full(len(inputs), 1)
        with sharding.use(mesh):
            out, _ = generate(params, conditions, inputs[:, None], requests, shape)
        return out[:, 0]

    return Way(serve, lambda condition: condition)


# By the names that `hyperx.costs.alternatives` has for them.
KEPT, CONCATENATION, REFERENCE = "kept state", "concatenation", "reference mode"
WAYS = {KEPT: kept_state, CONCATENATION: concatenation, REFERENCE: reference}


def programs(
    config: ModelConfig, params: Params, beams: int, targets: int
) -> tuple[Callable[..., TaskState], Callable[..., jax.Array]]:
    """What hyperx compiles: to read conditions, and to decode under a state.

    Args:
        config: of the model.
        params: its parameters.
        beams: of decoding; 1 is greedy.
        targets: tokens of an output.

    Returns:
        ``adapt(conditions [G, I]) -> state``, and ``generate(inputs [R, S], state,
        limit) -> tokens [R, W, T]``, the best hypothesis of every row first.
    """
    request, shape = _decoding(beams, targets)
    mesh = random_models.one_device()
    programs = Programs(config, mesh)
    with sharding.use(mesh):
        weights = steps.weights_of(config.backbone, params)

    def adapt(conditions: np.ndarray | None) -> TaskState:
        with sharding.use(mesh):
            return programs.adapt(params, conditions)

    def generate(inputs: np.ndarray, state: TaskState, limit: int) -> jax.Array:
        requests = request.replace(limit=np.int32(limit)).full(1, len(inputs))
        arguments = (params, weights, inputs[None], state, requests, shape)
        with sharding.use(mesh):
            return programs.generate(*arguments)[0][0]

    return adapt, generate


def _decoding(beams: int, targets: int) -> tuple[Requests, Shape]:
    """What a row wants, and what is compiled for it."""
    strategy = Beam(beams) if beams > 1 else Greedy()
    return Requests.of(strategy, targets), strategy.shape(targets)


def _for_each(inputs: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """The condition ``[R, I]``, once for every input."""
    return np.broadcast_to(condition, (len(inputs), len(condition)))
