"""Schemas: what requests and answers look like. `/docs` shows them."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hyperx.inference.decoding import Strategy, strategies

Text = Annotated[str, Field(description="a text that the model reads")]
StateId = Annotated[str, Field(pattern="^[0-9a-f]{48}$")]


class _Request(BaseModel):
    """Unknown names and values of another type are refused, not dropped or changed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StateRequest(_Request):
    """A condition to read once."""

    condition: Text = Field(examples=["replace a with z"])


class TaskRequest(_Request):
    """What requests have in common: under which condition, and which inputs."""

    state: StateId | None = Field(None, description="id of a registered condition")
    condition: Text | None = Field(None, description="or the condition itself")
    inputs: list[Text] = Field(min_length=1, examples=[["x a b"]])

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.state is not None and self.condition is not None:
            raise ValueError("expected a state or a condition, got both")
        return self


class GenerateRequest(TaskRequest):
    """Inputs to answer: greedily, by sampling or by beam search."""

    max_new_tokens: int | None = Field(
        None, ge=1, description="32, or what the service allows, if null"
    )
    temperature: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    beams: int = Field(1, ge=1, description="1 for no beam search")
    length_penalty: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    returned: int = Field(1, ge=1, description="outputs per input, of a beam search")
    seed: int = Field(0, ge=0, lt=2**32)
    stream: bool = Field(False, description="server-sent events, as tokens are chosen")

    def strategy(self) -> Strategy:
        """How outputs are chosen, as on the command line.

        Raises:
            ValueError: if settings contradict each other.
        """
        if self.beams == 1 and self.length_penalty is not None:
            raise ValueError("expected beams with a length_penalty, got beams=1")
        return strategies.named(
            beams=self.beams if self.beams > 1 else None,
            length_penalty=self.length_penalty,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        self.strategy()
        if self.beams > 1 and self.stream:
            raise ValueError(
                "expected beams=1 with stream, got a beam search: its tokens are not "
                "known before its end"
            )
        if self.returned > self.beams:
            raise ValueError(
                f"expected at most {self.beams} outputs of {self.beams} beams, got "
                f"returned={self.returned}"
            )
        return self


class ScoreRequest(TaskRequest):
    """Outputs to score: the choices of every input."""

    choices: list[Annotated[list[Text], Field(min_length=1)]] = Field(
        examples=[["x z b", "x a b"]]
    )

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.choices) != len(self.inputs):
            raise ValueError(
                f"expected one list of choices per input, got {len(self.choices)} "
                f"lists for {len(self.inputs)} inputs"
            )
        return self


class State(BaseModel):
    """A condition that was read."""

    id: str = Field(description="the same for the same condition and model")
    bytes: int | None = Field(
        description="of what is kept; null until it is made again"
    )


class Output(BaseModel):
    """One output of one input."""

    input: int = Field(description="which of the inputs")
    text: str
    tokens: int = Field(description="written, with the one that ends it")
    score: float = Field(description="log-probability in nats")
    ended: bool = Field(description="false if it was cut at max_new_tokens")


class GenerateAnswer(BaseModel):
    """Outputs in the order of the inputs; of a beam search the best first."""

    state: str
    outputs: list[Output]


class ScoreAnswer(BaseModel):
    """Log-probabilities of the choices in nats, summed over tokens."""

    state: str
    scores: list[list[float]]


class Health(BaseModel):
    """Whether requests are taken."""

    live: bool
    ready: bool
    draining: bool
    model: str = Field(description="fingerprint of the model")
    compiled: int = Field(description="programs that are ready")
    programs: int = Field(description="of so many")


class Problem(BaseModel):
    """What went wrong: what was expected, and what came."""

    status: int
    message: str


class Error(BaseModel):
    """Every answer that is none."""

    error: Problem
