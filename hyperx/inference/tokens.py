"""The token predictor: a trained model as programs hold it, without text."""

import copy
import functools
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.backbone import steps
from hyperx.inference import buckets, fingerprints
from hyperx.inference.decoding import Greedy, Requests, Running, Shape, Strategy
from hyperx.inference.programs import Programs
from hyperx.inference.states import joining
from hyperx.model import ModelConfig
from hyperx.task_state import TaskState


class TokenPredictor:
    """Adapts to conditions, then generates and scores under the states it made.

    Shapes are padded to powers of two, so that a new input rarely compiles anew.

    Attributes:
        config: of the model.
        params: its parameters.
        mesh: where everything is computed.
    """

    def __init__(
        self, config: ModelConfig, params: Any, mesh: Mesh | None = None
    ) -> None:
        self.config = config
        self.params = params
        self.mesh = mesh or sharding.make_mesh(1, 1, devices=jax.devices()[:1])
        self._programs = Programs(config, self.mesh)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies this model: its description and the bits of its parameters."""
        with sharding.use(self.mesh):
            return fingerprints.of(self.config, self.params)

    def with_params(self, params: Any) -> Self:
        """The same model with other parameters; shares what was compiled."""
        other = copy.copy(self)
        other.params = params
        for name in vars(self):
            cached = getattr(type(self), name, None)
            if isinstance(cached, functools.cached_property):
                del vars(other)[name]
        return other

    @property
    def conditioned(self) -> bool:
        """Whether the model's hypernetwork reads conditions."""
        return self.config.method.reads in ("condition", "task")

    @functools.cached_property
    def _rows_are_conditions(self) -> bool:
        """Whether every input has weights of its own, and is a group in the model."""
        hypernetwork = self.config.method.hypernetwork(self.config.backbone)
        return hypernetwork is not None and hypernetwork.instance is not None

    def adapt_tokens(self, tokens: np.ndarray | None) -> TaskState:
        """Reads conditions and writes the weights they ask for.

        Args:
            tokens: what the hypernetwork reads, ``[G, I]``; None for a model that
                reads nothing.

        Raises:
            ValueError: if they are missing, or given to a model that reads none.
        """
        if (tokens is not None) != self.conditioned:
            raise ValueError(
                f"expected {'a' if self.conditioned else 'no'} condition for a model "
                f"that reads {self.config.method.reads!r}, got "
                f"{'none' if tokens is None else 'one'}"
            )
        if tokens is not None and self.config.method.reads != "task":
            tokens = buckets.pad_length(np.asarray(tokens))
        with sharding.use(self.mesh):
            state = self._programs.adapt(self.params, tokens)
        return state.replace(fingerprint=self.fingerprint)

    @functools.cached_property
    def _weights(self) -> steps.Weights:
        """The parameters as decoding reads them, token by token."""
        with sharding.use(self.mesh):
            return steps.weights_of(self.config.backbone, self.params)

    def generate_tokens(
        self,
        tokens: np.ndarray,
        state: TaskState,
        max_new_tokens: int,
        decoding: Strategy = Greedy(),  # noqa: B008
        *,
        returned: int = 1,
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Writes outputs.

        Args:
            tokens: inputs ``[G, R, S]``.
            state: of G conditions, or of one, made by this model.
            max_new_tokens: longest output.
            decoding: how outputs are chosen.
            returned: outputs per input: the best of a beam search, or samples.
            seed: of samples; other inputs do not change those of one.

        Returns:
            Tokens ``[G, R, max_new_tokens]`` and their log-probabilities ``[G, R]``;
            with several `returned`, both with an axis of them behind R.
        """
        requests = Requests.of(decoding, max_new_tokens, returned=returned, seed=seed)
        requests = requests.full(*tokens.shape[:2])
        shape = decoding.shape(max_new_tokens, returned)
        out, scores = self.generate_rows(tokens, state, requests, shape)
        out, scores = out[:, :, :returned, :max_new_tokens], scores[:, :, :returned]
        return (out, scores) if returned > 1 else (out[:, :, 0], scores[:, :, 0])

    def generate_rows(
        self, tokens: np.ndarray, state: TaskState, requests: Requests, shape: Shape
    ) -> tuple[np.ndarray, np.ndarray]:
        """Serves rows that want different things.

        Args:
            tokens: ``[G, R, S]``.
            state: of G conditions, or of one, made by this model.
            requests: of the rows ``[G, R]``.
            shape: room for what they want; it is padded as all sizes are.

        Returns:
            Tokens ``[G, R, W, T]`` and log-probabilities ``[G, R, W]``.
        """
        groups, rows = tokens.shape[:2]
        arguments = self._padded(tokens, state, requests, shape)
        with sharding.use(self.mesh):
            out, scores = self._programs.generate(
                self.params, self._weights, *arguments
            )
        return np.asarray(out)[:groups, :rows], np.asarray(scores)[:groups, :rows]

    def begin(
        self, tokens: np.ndarray, state: TaskState, requests: Requests, shape: Shape
    ) -> Running:
        """As `generate_rows`, up to the first token; `advance` goes on from there.

        Returns:
            Its groups, rows, hypotheses and positions are padded: those asked for are
            the first.
        """
        arguments = self._padded(tokens, state, requests, shape)
        with sharding.use(self.mesh):
            return self._programs.begin(self.params, *arguments)

    def advance(self, running: Running, count: int) -> Running:
        """Up to `count` tokens later; `running` itself is used up by it."""
        with sharding.use(self.mesh):
            return self._programs.advance(self._weights, running, np.int32(count))

    def score_tokens(
        self, tokens: np.ndarray, choices: np.ndarray, state: TaskState
    ) -> np.ndarray:
        """Log-probability of each choice, summed over its tokens and EOS.

        Args:
            tokens: of the inputs ``[G, R, S]``; each is read once.
            choices: ``[G, R, C, T]``, EOS included; one of padding alone scores 0.
            state: as in `generate_tokens`.

        Returns:
            ``[G, R, C]`` in float32.
        """
        groups, rows, count = choices.shape[:3]
        tokens, state = self._bucketed(tokens, state)
        sizes = (*tokens.shape[:2], buckets.size(count))
        choices = buckets.pad_length(buckets.filled(choices, sizes))
        with sharding.use(self.mesh):
            scores = self._programs.score(self.params, tokens, choices, state)
        return np.asarray(scores)[:groups, :rows, :count]

    def _padded(
        self, tokens: np.ndarray, state: TaskState, requests: Requests, shape: Shape
    ) -> tuple[np.ndarray, TaskState, Requests, Shape]:
        """The arguments of programs: of sizes of which there are few."""
        tokens, state = self._bucketed(tokens, state)
        size = tokens.shape[:2]
        requests = jax.tree.map(lambda leaf: buckets.filled(leaf, size), requests)
        return tokens, state, requests, shape.bucketed()

    def _bucketed(
        self, tokens: np.ndarray, state: TaskState
    ) -> tuple[np.ndarray, TaskState]:
        """Inputs ``[G, R, S]`` and a state padded to sizes of which there are few.

        Raises:
            ValueError: if the state is neither of G conditions nor of one.
        """
        given, rows, _ = tokens.shape
        parts = sharding.group_parts(self.mesh)
        groups, size = buckets.groups(given, parts), buckets.size(rows)
        if parts > 1 and groups == 1 and self._rows_are_conditions:
            size = parts * buckets.size(-(-rows // parts))  # What devices share.
        tokens = buckets.filled(tokens, (groups, size))
        if state.groups not in (1, given, groups):
            raise ValueError(
                f"expected a state of {given} conditions or of one, got {state.groups}"
            )
        if state.groups not in (1, groups):
            with sharding.use(self.mesh):
                state = state.take(np.minimum(np.arange(groups), given - 1))
        # Whose state it is decides over nothing that is compiled.
        state = joining.placed(state, self.mesh).replace(fingerprint="")
        return buckets.pad_length(tokens), state
