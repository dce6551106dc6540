"""Settings: limits and sizes of a service."""

import dataclasses
import ipaddress
import pathlib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service binds, what it accepts, and what it compiles.

    Attributes:
        host: address to listen at.
        port: to listen at; 0 for any that is free.
        token: that requests have to bear; None for none.
        allow_public: whether others may reach the service without a token.
        max_batch: most rows that are computed together, a power of two.
        patience: seconds that the oldest row waits for company.
        chunk: tokens between two looks at who is still listening.
        max_queue: most rows that wait.
        max_inputs: of one request.
        max_choices: of one input to score.
        max_new_tokens: longest output, and longest choice.
        beams: widths of beam search on offer; each is compiled.
        max_body: bytes of a request.
        body_seconds: in which a request has to arrive.
        timeout: seconds from a request to its answer.
        bank_bytes: of task states in memory.
        spill: folder for task states on disk, or None.
        spill_bytes: most bytes there; None for no limit.
        input_lengths: to which inputs are padded, in tokens; by the model if empty.
        condition_lengths: the same of conditions.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = dataclasses.field(default=None, repr=False)
    allow_public: bool = False
    max_batch: int = 16
    patience: float = 0.005
    chunk: int = 8
    max_queue: int = 256
    max_inputs: int = 64
    max_choices: int = 64
    max_new_tokens: int = 128
    beams: tuple[int, ...] = (4,)
    max_body: int = 1 << 20
    body_seconds: float = 10.0
    timeout: float = 60.0
    bank_bytes: int = 1 << 30
    spill: str | None = None
    spill_bytes: int | None = None
    input_lengths: tuple[int, ...] = ()
    condition_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.max_batch & (self.max_batch - 1):
            raise ValueError(
                f"expected max_batch to be a power of two, got {self.max_batch}"
            )
        if wide := [beams for beams in self.beams if not 2 <= beams <= self.max_batch]:
            raise ValueError(
                f"expected beams from 2 to max_batch ({self.max_batch}), got {wide}"
            )
        if self.max_queue < self.max_inputs:
            raise ValueError(
                f"expected a queue for the inputs of one request at least "
                f"({self.max_inputs}), got {self.max_queue}"
            )
        if not (self.token or self.allow_public or is_loopback(self.host)):
            raise ValueError(
                f"expected a token for {self.host}, which others may reach, got none: "
                "set HYPERX_TOKEN or --token_file, or --allow_public"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: str | None, environment: str | None) -> str | None:
    """The token in a file, or else the one of the environment.

    Raises:
        ValueError: if it is empty or has characters that no header carries; it is not
            shown.
    """
    text = environment
    if path is not None:
        text = pathlib.Path(path).read_text(encoding="utf-8").strip()
    if text is None:
        return None
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            "expected a token of printable ASCII characters without spaces, got "
            f"{len(text)} characters that are not"
        )
    return text
