"""Reading: texts of requests as tokens, never cut without a word."""

from collections.abc import Sequence

import numpy as np

from hyperx.backbone.t5 import EOS
from hyperx.inference import buckets
from hyperx.inference.predictor import Predictor
from hyperx.serve.refusals import Refusal, printable
from hyperx.serve.settings import Settings

# For models that do not say how long what they read may be.
_UNSAID = 512
_LONG = 256


class Reading:
    """Checks and encodes what clients send.

    Attributes:
        input_lengths: to which inputs are padded, ascending.
        condition_lengths: the same of conditions.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self._predictor, self._settings = predictor, settings
        feature = "prompt" if predictor.config.method.reads == "prompt" else "inputs"
        self.input_lengths, self._most_input = self._lengths(
            settings.input_lengths, feature
        )
        self.condition_lengths, self._most_condition = self._lengths(
            settings.condition_lengths, "condition"
        )

    def condition(self, text: str) -> np.ndarray:
        """What the hypernetwork reads of a condition, ``[I]``.

        Raises:
            Refusal: if it cannot read it.
        """
        if self._predictor.config.method.reads == "task":
            try:
                return self._predictor.condition_tokens([text])[0]
            except ValueError as error:
                raise Refusal(422, str(error)) from None
        return self._tokens(text, self._most_condition, "condition")

    def inputs(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens of inputs, each with EOS.

        Raises:
            Refusal: if there are too many, or one cannot be read.
        """
        most = self._settings.max_inputs
        if len(texts) > most:
            raise Refusal(422, f"expected at most {most} inputs, got {len(texts)}")
        return [
            self._tokens(text, self._most_input, f"inputs[{number}]")
            for number, text in enumerate(texts)
        ]

    def choices(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens of the choices of an input, each with EOS.

        Raises:
            Refusal: as `inputs`.
        """
        most = self._settings.max_choices
        if len(texts) > most:
            raise Refusal(422, f"expected at most {most} choices, got {len(texts)}")
        longest = self._settings.max_new_tokens
        return [self._tokens(text, longest, "choices") for text in texts]

    def input_length(self, tokens: np.ndarray) -> int:
        """To how many tokens an input is padded."""
        return next(own for own in self.input_lengths if own >= len(tokens))

    def _tokens(self, text: str, most: int, what: str) -> np.ndarray:
        if printable(text) != text:
            raise Refusal(
                422, f"{what}: expected text that UTF-8 can hold, got {text[:40]!a}"
            )
        try:
            tokens = [*self._predictor.vocabulary.encode(text), EOS]
        except ValueError as error:
            raise Refusal(422, f"{what}: {error}") from None
        if len(tokens) > most:
            raise Refusal(
                422,
                f"{what}: expected at most {most} tokens with the one that ends it, "
                f"got {len(tokens)}",
            )
        return np.array(tokens, np.int32)

    def _lengths(self, given: Sequence[int], feature: str) -> tuple[list[int], int]:
        """Lengths to compile for, and the most tokens of a text."""
        most = self._predictor.feature_lengths.get(feature, max(given, default=_UNSAID))
        longest = buckets.length(most)
        own = {longest, longest // 4} if longest >= _LONG else {longest}
        lengths = sorted(set(map(buckets.length, given)) or own)
        return lengths, min(most, lengths[-1])
