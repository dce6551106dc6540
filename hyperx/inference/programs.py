"""Programs: what is compiled to use a trained model."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from hyperx import sharding
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.inference import scoring
from hyperx.inference.decoding import loop
from hyperx.model import ModelConfig
from hyperx.task_state import TaskState


class Programs:
    """Jitted functions of a model's parameters; call them with `mesh` in use.

    What decodes and scores returns arrays that are whole on every device: of several
    processes, each reads all of them.

    Attributes:
        adapt: ``(params, tokens) -> TaskState`` from what the hypernetwork reads,
            ``[G, I]`` or None; it stays where it is declared.
        generate: ``(params, weights, tokens, state, requests, shape)``: see
            `decoding.loop.generate`.
        begin: ``(params, tokens, state, requests, shape) -> Running``.
        advance: ``(weights, running, count) -> Running``; `running` is used up.
        logits: ``(params, batch, state)``: teacher-forced, ``[G, R, T, V]`` in float32.
        score: ``(params, tokens, choices, state)``: see `scoring.log_probabilities`.
    """

    def __init__(self, config: ModelConfig, mesh: Mesh) -> None:
        self._module = config.build()
        whole = NamedSharding(mesh, sharding.spec(()))
        self.adapt: Callable[..., Any] = jax.jit(self._adapt)
        self.generate: Callable[..., Any] = jax.jit(
            functools.partial(loop.generate, self._module),
            static_argnames="shape",
            out_shardings=whole,
        )
        self.begin: Callable[..., Any] = jax.jit(
            functools.partial(loop.begin, self._module), static_argnames="shape"
        )
        self.advance: Callable[..., Any] = jax.jit(
            functools.partial(loop.advance, self._module), donate_argnames="running"
        )
        self.logits: Callable[..., Any] = jax.jit(self._logits, out_shardings=whole)
        self.score: Callable[..., Any] = jax.jit(self._score, out_shardings=whole)

    def _adapt(self, params: Any, tokens: jax.Array | None) -> TaskState:
        return self._module.apply({"params": params}, tokens, method="adapt")

    def _logits(
        self, params: Any, batch: Mapping[str, jax.Array], state: TaskState
    ) -> jax.Array:
        conditioning = Conditioning.of(state)
        return self._module.apply(
            {"params": params}, batch, conditioning, method="forward"
        )

    def _score(
        self, params: Any, tokens: jax.Array, choices: jax.Array, state: TaskState
    ) -> jax.Array:
        return scoring.log_probabilities(self._module, params, tokens, choices, state)
