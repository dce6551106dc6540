"""Strategies: how outputs are chosen among all that a model could write."""

import dataclasses

from hyperx.inference import buckets


@dataclasses.dataclass(frozen=True)
class Shape:
    """What decides about the program that serves requests: all else is data.

    Attributes:
        length: positions that there is room for (T).
        hypotheses: outputs of every row that are written side by side (W).
        beam: whether they compete; else each is greedy or drawn by itself.
    """

    length: int
    hypotheses: int = 1
    beam: bool = False

    def bucketed(self) -> "Shape":
        """The next for which programs are compiled; beams are as many as they are."""
        return dataclasses.replace(
            self,
            length=buckets.length(self.length),
            hypotheses=self.hypotheses if self.beam else buckets.size(self.hypotheses),
        )


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The most likely token at every position."""

    def shape(self, length: int, returned: int = 1) -> Shape:
        """What it takes.

        Args:
            length: of the longest output.
            returned: how many outputs of a row are wanted.

        Raises:
            ValueError: if there are not so many.
        """
        if returned != 1:
            raise ValueError(f"expected returned=1 of greedy decoding, got {returned}")
        return Shape(length)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Tokens drawn at random; each of several outputs by itself.

    Attributes:
        temperature: divides the logits; 0 is greedy decoding.
        top_k: only so many most likely tokens are drawn; None for all.
        top_p: only the fewest most likely tokens whose probabilities sum up to this
            are drawn (Holtzman et al. 2020); None for all. Of `top_k` and `top_p` the
            former acts first.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"expected a temperature of at least 0, got {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"expected a top_k of at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"expected a top_p in (0, 1], got {self.top_p}")

    def shape(self, length: int, returned: int = 1) -> Shape:
        """As `Greedy.shape`; samples stand side by side."""
        if returned < 1:
            raise ValueError(f"expected to return at least 1 sample, got {returned}")
        return Shape(length, returned)


@dataclasses.dataclass(frozen=True)
class Beam:
    """The best outputs that a beam search finds.

    Attributes:
        beams: hypotheses that are followed (W).
        length_penalty: alpha of ``((5 + n) / 6) ** alpha``, by which the
            log-probability of n tokens, EOS included, is divided when outputs are
            compared (Wu et al. 2016, equation 14). 0 compares log-probabilities.
    """

    beams: int = 4
    length_penalty: float = 0.6

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise ValueError(f"expected at least 1 beam, got {self.beams}")
        if not 0 <= self.length_penalty < float("inf"):
            raise ValueError(
                f"expected a length_penalty of at least 0, got {self.length_penalty}"
            )

    def shape(self, length: int, returned: int = 1) -> Shape:
        """As `Greedy.shape`."""
        if not 1 <= returned <= self.beams:
            raise ValueError(
                f"expected to return 1 to {self.beams} of {self.beams} beams, got "
                f"{returned}"
            )
        return Shape(length, self.beams, beam=True)


Strategy = Greedy | Sample | Beam


def named(
    *,
    beams: int | None = None,
    length_penalty: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Strategy:
    """The strategy that settings ask for; those that are None are left to it.

    Raises:
        ValueError: if they contradict each other, or one has an impossible value.
    """
    beam = dict(beams=beams, length_penalty=length_penalty)
    sample = dict(temperature=temperature, top_k=top_k, top_p=top_p)
    beam, sample = (
        {name: value for name, value in settings.items() if value is not None}
        for settings in (beam, sample)
    )
    if beam and sample:
        raise ValueError(
            f"expected a beam search or sampling, got {', '.join(beam)} and "
            f"{', '.join(sample)}"
        )
    if beam:
        return Beam(**beam)
    return Sample(**sample) if sample else Greedy()
