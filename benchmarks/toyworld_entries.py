"""What the toyworld comparison trains, and on which kind of condition."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A kind of condition.

    Attributes:
        title: of its part of the table.
        data: its gin file.
        bindings: what it changes for all its methods.
    """

    title: str
    data: str
    bindings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A method in a setting.

    Attributes:
        name: of its row.
        setting: of `SETTINGS`.
        method: its gin file.
        steps: of training.
        frozen_start: whether it begins with the pretrained backbone.
        bindings: what it changes.
    """

    name: str
    setting: str
    method: str
    steps: int
    frozen_start: bool = False
    bindings: tuple[str, ...] = ()


SETTINGS = {
    "instructions": Setting(
        title="Instructions with letter pairs never seen in training",
        data="data/toyworld.gin",
    ),
    "few-shot": Setting(
        title="Three examples of an operation with letters never seen together",
        data="data/toyworld_fewshot.gin",
    ),
    "task ids": Setting(
        title="48 tasks known by their number, on new inputs",
        data="data/toyworld_tasks.gin",
    ),
    "instances": Setting(
        title="One text with instruction and input: every input gets its own weights",
        data="data/toyworld.gin",
    ),
}

# What stands for a pretrained T5: it has learned to follow instructions in its input.
BACKBONE = Entry(
    name="backbone",
    setting="instructions",
    method="methods/concatenation.gin",
    steps=1500,
)
ENTRIES: tuple[Entry, ...] = ()
