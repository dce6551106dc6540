"""The predictor: a trained model as its users hold it."""

import copy
import functools
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.inference import buckets, decoding
from hyperx.inference.programs import Programs
from hyperx.model import ModelConfig
from hyperx.task_state import TaskState

logger = logging.getLogger(__name__)


class Vocabulary(Protocol):
    """What the predictor needs of a seqio vocabulary."""

    def encode(self, s: str) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Predictor:
    """Adapts to conditions, then generates and scores under the states it made.

    Shapes are padded to powers of two, so that a new input rarely compiles anew.

    Attributes:
        config: of the model.
        params: its parameters.
        vocabulary: text to tokens and back; None if only tokens will be given.
        feature_lengths: longest ``condition``, ``inputs``, ``prompt`` and ``targets``,
            in tokens with EOS; a feature without an entry has no limit.
        mesh: where everything is computed.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Any,
        vocabulary: Vocabulary | None,
        feature_lengths: Mapping[str, int],
        mesh: Mesh | None = None,
    ) -> None:
        self.config = config
        self.params = params
        self.vocabulary = vocabulary
        self.feature_lengths = dict(feature_lengths)
        self.mesh = mesh or sharding.make_mesh(1, 1, devices=jax.devices()[:1])
        self._programs = Programs(config, self.mesh)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies this model: its description and the bits of its parameters."""
        digest = hashlib.sha256()
        digest.update(json.dumps(self.config.to_json(), sort_keys=True).encode())
        with sharding.use(self.mesh):
            sums = _bit_sums(self.params)
        for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get(sums)):
            digest.update(f"{jax.tree_util.keystr(path)}={int(value)}".encode())
        return digest.hexdigest()[:16]

    def with_params(self, params: Any) -> "Predictor":
        """The same model with other parameters; shares what was compiled."""
        other = copy.copy(self)
        other.params = params
        for cached in ("fingerprint", "_own_state"):
            vars(other).pop(cached, None)
        return other

    def adapt(self, condition: str | Sequence[str] | None = None) -> TaskState:
        """Reads one or several conditions and writes the weights they ask for.

        Args:
            condition: an instruction, examples, the name of a task: whatever the model
                was trained to read; or G of them. None for a model that reads none and
                whose weights are the same for every task.

        Returns:
            The state of the G conditions. Keep it: it serves any number of inputs.

        Raises:
            ValueError: if a condition is missing, given to a model that reads none, or
                the name of no task that the model knows.
        """
        if condition is None:
            return self.adapt_tokens(None)
        texts = [condition] if isinstance(condition, str) else list(condition)
        return self.adapt_tokens(self.condition_tokens(texts))

    def condition_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """What the hypernetwork reads of conditions: tokens, or numbers of tasks."""
        if self.config.method.reads != "task":
            return self.encode_text(texts, "condition")
        tasks = self.config.method.tasks
        unknown = [text for text in texts if text not in tasks]
        if unknown:
            raise ValueError(f"expected a task of {tasks}, got {unknown[0]!r}")
        return np.array([[tasks.index(text)] for text in texts], np.int32)

    def adapt_tokens(self, tokens: np.ndarray | None) -> TaskState:
        """As `adapt`, from what the hypernetwork reads, ``[G, I]``, or None."""
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

    @property
    def conditioned(self) -> bool:
        """Whether the model's hypernetwork reads conditions."""
        return self.config.method.reads in ("condition", "task")

    @functools.cached_property
    def _own_state(self) -> TaskState:
        """The one state of a model that reads no conditions."""
        return self.adapt_tokens(None)

    def generate(
        self,
        inputs: Sequence[str],
        state: TaskState | None = None,
        *,
        max_new_tokens: int = 32,
    ) -> list[str]:
        """Decodes greedily.

        Args:
            inputs: texts; every one is read under the same condition.
            state: of one condition, made by this model; may be None for a model that
                reads no conditions.
            max_new_tokens: longest output.

        Returns:
            One text per input.
        """
        if not inputs:
            return []
        tokens = self.encode_text(inputs, self._input_feature())
        state = self._checked(state)
        out, _ = self.generate_tokens(tokens[None], state, max_new_tokens)
        return [self.decode_tokens(row) for row in out[0]]

    def generate_tokens(
        self, tokens: np.ndarray, state: TaskState, max_new_tokens: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `generate`, for tokens ``[G, R, S]`` and a state of G conditions, or one.

        Returns:
            Tokens ``[G, R, max_new_tokens]`` and log-probabilities ``[G, R]``.
        """
        rows = tokens.shape[1]
        padded = buckets.pad_length(buckets.pad(tokens, 1))
        with sharding.use(self.mesh):
            out, score = self._programs.greedy(
                self.params, padded, state, max_new_tokens=max_new_tokens
            )
        return np.asarray(out)[:, :rows], np.asarray(score)[:, :rows]

    def score(
        self,
        inputs: Sequence[str],
        choices: Sequence[Sequence[str]],
        state: TaskState | None = None,
    ) -> list[np.ndarray]:
        """Log-probability of each choice, summed over its tokens and EOS.

        Args:
            inputs: N texts.
            choices: for each input its candidate outputs.
            state: as in `generate`.

        Returns:
            N arrays, one number in nats per choice.
        """
        if len(inputs) != len(choices):
            raise ValueError(
                f"expected one list of choices per input, got {len(choices)} lists "
                f"for {len(inputs)} inputs"
            )
        counts = [len(options) for options in choices]
        if not sum(counts):
            return [np.zeros(0) for _ in counts]
        flat = [option for options in choices for option in options]
        encoded = self.encode_text(flat, "targets")
        targets = np.zeros((len(inputs), max(counts), encoded.shape[1]), np.int32)
        targets[np.arange(max(counts)) < np.array(counts)[:, None]] = encoded
        sources = self.encode_text(inputs, self._input_feature())
        (scores,) = self.score_tokens(
            sources[None], targets[None], self._checked(state)
        )
        return [row[:count] for row, count in zip(scores, counts, strict=True)]

    def score_tokens(
        self, tokens: np.ndarray, choices: np.ndarray, state: TaskState
    ) -> np.ndarray:
        """As `score`, for tokens ``[G, R, S]`` and a state of G conditions, or one.

        Args:
            tokens: of the inputs; each is read once.
            choices: ``[G, R, C, T]``, EOS included; one of padding alone scores 0.
            state: as in `generate_tokens`.

        Returns:
            ``[G, R, C]`` in float32.
        """
        rows, count = choices.shape[1:3]
        choices = buckets.pad(buckets.pad(buckets.pad_length(choices), 1), 2)
        padded = buckets.pad_length(buckets.pad(tokens, 1))
        with sharding.use(self.mesh):
            scores = self._programs.score(self.params, padded, choices, state)
        return np.asarray(scores)[:, :rows, :count]

    def logits(
        self,
        encoder_tokens: np.ndarray,
        decoder_input_tokens: np.ndarray,
        state: TaskState | None = None,
    ) -> np.ndarray:
        """Teacher-forced logits.

        Args:
            encoder_tokens: ``[rows, S]``, 0 is padding.
            decoder_input_tokens: ``[rows, T]``, starting with 0.
            state: as in `generate`.

        Returns:
            ``[rows, T, V]`` in float32.
        """
        batch = {
            "encoder_tokens": np.asarray(encoder_tokens, np.int32)[None],
            "decoder_input_tokens": np.asarray(decoder_input_tokens, np.int32)[None],
        }
        with sharding.use(self.mesh):
            logits = self._programs.logits(self.params, batch, self._checked(state))
        return np.asarray(logits)[0]

    def encode_text(self, texts: Sequence[str], feature: str) -> np.ndarray:
        """Tokens ``[N, length]`` with EOS; those too long for `feature` are cut."""
        ids = [list(self._vocabulary().encode(text)) for text in texts]
        longest = max(map(len, ids), default=0)
        limit = self.feature_lengths.get(feature, longest + 1) - 1
        cut = sum(len(row) > limit for row in ids)
        if cut:
            logger.warning(
                "%d of %d %s cut to %d tokens", cut, len(ids), feature, limit
            )
        ids = [[*row[:limit], decoding.EOS] for row in ids]
        tokens = np.zeros((len(ids), max(map(len, ids), default=1)), np.int32)
        for row, values in zip(tokens, ids, strict=True):
            row[: len(values)] = values
        return tokens

    def check_text(self, text: str) -> None:
        """Raises ValueError if the vocabulary cannot tell `text`."""
        self._vocabulary().encode(text)

    def check_condition(self, text: str) -> None:
        """Raises ValueError if the model cannot read `text` as a condition."""
        if self.config.method.reads == "task":
            self.condition_tokens([text])
        else:
            self.check_text(text)

    def decode_tokens(self, tokens: np.ndarray) -> str:
        """Text of tokens ``[T]`` up to EOS."""
        ends = np.flatnonzero(tokens == decoding.EOS)
        end = ends[0] if ends.size else len(tokens)
        return self._vocabulary().decode([int(id) for id in tokens[:end] if id])

    def _vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ValueError(
                "expected a model with a vocabulary, got an imported one that names "
                "none: `hyperx.load(model_dir, vocabulary=...)`, or use tokens"
            )
        return self.vocabulary

    def _input_feature(self) -> str:
        return "prompt" if self.config.method.reads == "prompt" else "inputs"

    def _checked(self, state: TaskState | None) -> TaskState:
        """The state to decode under.

        Raises:
            ValueError: if it is missing, of several conditions, or of another model.
        """
        if state is None and not self.conditioned:
            return self._own_state
        if state is None:
            raise ValueError("expected a state made by `adapt`, got None")
        if state.fingerprint != self.fingerprint:
            raise ValueError(
                f"expected a state of model {self.fingerprint}, got one of model "
                f"{state.fingerprint or '(unknown)'}"
            )
        if state.groups != 1:
            raise ValueError(
                f"expected a state of one condition, got {state.groups}: select one "
                "with `state.take([i])`"
            )
        return state


@jax.jit
def _bit_sums(params: Any) -> Any:
    return jax.tree.map(_bit_sum, params)


def _bit_sum(leaf: jax.Array) -> jax.Array:
    """Sum of an array's bits as integers weighted by position, modulo 2^32."""
    bits = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32).ravel()
    return jnp.sum(bits * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1))
