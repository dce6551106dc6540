"""Super-NaturalInstructions: what a task is, wherever it was read."""

import dataclasses

HUB = "hf:"  # Before the name of a data set on the Hugging Face hub.
HOW_TO_GET = (
    "clone the original with `git clone"
    " https://github.com/allenai/natural-instructions` and give its folder as"
    " `directory` or in the environment variable SUPER_NI_DIR"
)


class MalformedTask(ValueError):
    """A task file that is not what the format promises; names file and fault."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A demonstration written by the task's authors; its output is one string."""

    input: str
    output: str
    explanation: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """One question of a task with all its acceptable answers (at least one)."""

    id: str
    input: str
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One task; `definition` is stripped, `category` the first of its list.

    `positives` and `negatives` are None where the source has no such examples at all.
    """

    name: str
    definition: str
    category: str
    positives: tuple[Example, ...] | None
    negatives: tuple[Example, ...] | None
    instances: tuple[Instance, ...]
