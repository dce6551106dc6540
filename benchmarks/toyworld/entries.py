"""What the toyworld comparison trains, and on which kind of condition."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A kind of condition.

    Attributes:
        title: of its part of the table.
        data: its gin file.
        backbone: name of the `BACKBONES` that methods with a frozen one begin with.
    """

    title: str
    data: str
    backbone: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A method in a setting.

    Attributes:
        name: of its row.
        setting: of `SETTINGS`.
        method: its gin file.
        steps: of training.
        frozen_start: whether it begins with the setting's backbone, frozen.
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
        backbone="reads_instructions",
    ),
    "few-shot": Setting(
        title="Three examples of an operation with letters never seen together",
        data="data/toyworld_fewshot.gin",
        backbone="reads_examples",
    ),
    "task ids": Setting(
        title="48 tasks known by their number, on new inputs",
        data="data/toyworld_tasks.gin",
        backbone="reads_instructions",
    ),
    "named in the input": Setting(
        title="48 tasks named by a word in the input, on new inputs",
        data="data/toyworld_tasks.gin",
        backbone="reads_instructions",
    ),
}

# What stands for a pretrained T5: plain ones that have learned to read conditions in
# their input. None has seen the 48 tasks.
BACKBONES = {
    "reads_instructions": Entry(
        name="reads_instructions",
        setting="instructions",
        method="methods/concatenation.gin",
        steps=1500,
    ),
    "reads_examples": Entry(
        name="reads_examples",
        setting="few-shot",
        method="methods/concatenation.gin",
        steps=1250,
    ),
}


def _entries(setting: str, *rows: tuple) -> tuple[Entry, ...]:
    """Entries of one setting: name, gin file, steps, frozen or not, bindings."""
    return tuple(
        Entry(
            name=name,
            setting=setting,
            method=f"methods/{method}.gin",
            steps=steps,
            frozen_start=frozen == "frozen",
            bindings=tuple(bindings),
        )
        for name, method, steps, frozen, *bindings in rows
    )


_FAST = "schedules.cosine.peak = 0.01"  # few parameters on a frozen backbone
_ALONE = ("hint.Hint.prefix_length = 0", "hint.Hint.fusion = False")
_RANK_4 = "tagi.Tagi.rank = 4"
_SIXTEEN = "ADAPTER_SIZE = 16"
# The hypermodel has read examples before, its slots and heads are new.
_CAREFUL = "LEARNING_RATE_FACTORS = {'hypernetwork/conditioner/model/': 0.25}"
_GATED = (
    "hyper_t5.HyperT5Prefix.length = 8",
    "hyper_t5.HyperT5Prefix.cross_attention = True",
    "hyper_t5.HyperT5Prefix.gate = -5.0",
)

ENTRIES = (
    *_entries(
        "instructions",
        ("HINT", "hint", 1500, "trained"),
        ("HINT, adapters alone", "hint", 1000, "trained", *_ALONE),
        ("TAGI", "tagi", 1000, "frozen", _RANK_4),
        ("Text-to-LoRA", "text_to_lora", 1000, "frozen"),
        ("Zhyper", "zhyper", 1000, "frozen"),
        ("concatenation", "concatenation", 1500, "trained"),
        ("inputs only", "inputs_only", 500, "trained"),
    ),
    *_entries(
        "few-shot",
        ("HyperT5-LoRA", "hyper_t5_lora", 1500, "frozen", _CAREFUL),
        ("HyperT5-Prefix", "hyper_t5_prefix", 2000, "frozen", _CAREFUL, *_GATED),
        ("HINT on examples", "hint", 1500, "trained"),
        ("FiD-ICL", "fid_icl", 6000, "trained"),
        ("concatenated examples", "concatenation", 1250, "trained"),
    ),
    *_entries(
        "task ids",
        ("HyperFormer++", "hyperformer_plus_plus", 500, "frozen"),
        ("HyperFormer", "hyperformer", 500, "frozen"),
        ("HyperPrompt-Global", "hyperprompt_global", 500, "trained"),
        ("HyperPrompt-Sep", "hyperprompt_sep", 500, "trained"),
        ("HyperPrompt-Share", "hyperprompt_share", 500, "trained"),
        ("adapters per task", "adapters_per_task", 500, "frozen", _FAST),
        ("Hyperdecoders, task", "hyperdecoders_task", 500, "frozen"),
    ),
    *_entries(
        "named in the input",
        ("Hyperdecoders", "hyperdecoders", 500, "frozen"),
        ("single adapter", "hyperdecoders_manual", 500, "frozen"),
        ("adapters", "adapters", 500, "frozen", _FAST, _SIXTEEN),
        ("LoRA", "lora", 500, "frozen", _FAST),
        ("IA3", "ia3", 500, "frozen", _FAST),
        ("prefix tuning", "prefix_tuning", 500, "frozen"),
        ("prompt tuning", "prompt_tuning", 500, "frozen", _FAST,
         "prompt_tuning.PromptTuning.length = 10"),
        ("full fine-tuning", "concatenation", 500, "trained"),
    ),
)  # fmt: skip
