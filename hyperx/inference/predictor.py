"""The predictor: a trained model as its users hold it."""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jax.sharding import Mesh

from hyperx import sharding
from hyperx.backbone.t5 import EOS
from hyperx.inference.decoding import Greedy, Requests, Strategy
from hyperx.inference.tokens import TokenPredictor
from hyperx.model import ModelConfig
from hyperx.task_state import TaskState

logger = logging.getLogger(__name__)


class Vocabulary(Protocol):
    """What a model's user needs of a seqio vocabulary."""

    def encode(self, s: str) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Predictor(TokenPredictor):
    """Reads and writes text, where `TokenPredictor` has tokens.

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
        super().__init__(config, params, mesh)
        self.vocabulary = vocabulary
        self.feature_lengths = dict(feature_lengths)

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

    def generate(
        self,
        inputs: Sequence[str],
        state: TaskState | None = None,
        *,
        max_new_tokens: int = 32,
        decoding: Strategy = Greedy(),  # noqa: B008
        returned: int = 1,
        seed: int = 0,
    ) -> list[str] | list[list[str]]:
        """Writes outputs.

        Args:
            inputs: texts; every one is read under the same condition.
            state: of one condition, made by this model; may be None for a model that
                reads no conditions.
            max_new_tokens: longest output.
            decoding: how outputs are chosen.
            returned: outputs per input: the best of a beam search, or samples.
            seed: of samples; other inputs do not change those of one.

        Returns:
            One text per input; with several `returned`, a list of them per input, those
            of a beam search in order, best first.
        """
        requests = Requests.of(decoding, max_new_tokens, returned=returned, seed=seed)
        if not inputs:
            return []
        tokens = self.encode_text(inputs, self.input_feature)[None]
        requests = requests.full(*tokens.shape[:2])
        shape = decoding.shape(max_new_tokens, returned)
        out, _ = self.generate_rows(tokens, self._checked(state), requests, shape)
        texts = [
            [self.decode_tokens(row) for row in rows[:returned]] for rows in out[0]
        ]
        return texts if returned > 1 else [text for (text,) in texts]

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
        sources = self.encode_text(inputs, self.input_feature)
        (scores,) = self.score_tokens(
            sources[None], targets[None], self._checked(state)
        )
        return [row[:count] for row, count in zip(scores, counts, strict=True)]

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
            state = self._checked(state).replace(fingerprint="")
            logits = self._programs.logits(self.params, batch, state)
        return np.asarray(logits)[0]

    def condition_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """What the hypernetwork reads of conditions: tokens, or numbers of tasks."""
        if self.config.method.reads != "task":
            return self.encode_text(texts, "condition")
        tasks = self.config.method.tasks
        unknown = [text for text in texts if text not in tasks]
        if unknown:
            raise ValueError(f"expected a task of {tasks}, got {unknown[0]!r}")
        return np.array([[tasks.index(text)] for text in texts], np.int32)

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
        ids = [[*row[:limit], EOS] for row in ids]
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
        ends = np.flatnonzero(tokens == EOS)
        end = ends[0] if ends.size else len(tokens)
        return self._vocabulary().decode([int(id) for id in tokens[:end] if id])

    def _vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ValueError(
                "expected a model with a vocabulary, got an imported one that names "
                "none: `hyperx.load(model_dir, vocabulary=...)`, or use tokens"
            )
        return self.vocabulary

    @property
    def input_feature(self) -> str:
        """Which feature of a data set inputs are: their length is that of this one."""
        return "prompt" if self.config.method.reads == "prompt" else "inputs"

    @functools.cached_property
    def _own_state(self) -> TaskState:
        """The one state of a model that reads no conditions."""
        return self.adapt_tokens(None)

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
