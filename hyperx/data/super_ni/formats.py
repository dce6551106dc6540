"""Super-NaturalInstructions: the texts made of a task, sign for sign.

Two families: the *condition* that HINT's hypernetwork reads beside the bare instance
input, and the *prompt* of Tk-Instruct, which says everything in one text. Pure Python.
"""

import dataclasses
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

from hyperx.data.super_ni import records, splits

# The number of tokens of a text, its end of sequence included.
CountTokens = Callable[[str], int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How much of a task is told.

    Attributes:
      positives: positive examples told, at most (some tasks have fewer).
      negatives: negative examples told, at most.
      explanations: whether the examples' explanations are told.
      max_tokens: a text grows by another example only up to this many tokens.
    """

    positives: int = 0
    negatives: int = 0
    explanations: bool = False
    max_tokens: int = 1024

    def __post_init__(self):
        if self.positives < 0 or self.negatives < 0:
            raise ValueError(
                "expected no negative number of examples, got "
                f"positives={self.positives}, negatives={self.negatives}"
            )
        if self.explanations and not (self.positives or self.negatives):
            raise ValueError("expected examples to explain, got none")

    @property
    def name(self) -> str:
        """E.g. `def`, `def_pos_2` or `def_pos_2_neg_2_expl`."""
        parts = ["def"]
        parts += [f"pos_{self.positives}"] if self.positives else []
        parts += [f"neg_{self.negatives}"] if self.negatives else []
        parts += ["expl"] if self.explanations else []
        return "_".join(parts)

    def check(self, task: records.Task) -> None:
        """Raises ValueError where the task's source has no examples of a kind told."""
        for kind, count, examples_of_a_kind in (
            ("positive", self.positives, task.positives),
            ("negative", self.negatives, task.negatives),
        ):
            if count and examples_of_a_kind is None:
                raise ValueError(
                    f"expected a source with {kind} examples for the format "
                    f"{self.name}, got {task.name} from one that has none: use the "
                    f"format def, or {records.HOW_TO_GET}"
                )


def condition(task: records.Task, form: Format, count_tokens: CountTokens) -> str:
    """What HINT's hypernetwork reads.

    The bare definition; or, with examples, `Definition: ...` before which the examples
    are put one by one, so that they stand in reverse order. An example that would take
    the text over `form.max_tokens` is left out, and the next one tried.

    NOTE: HINT tells positive examples only; negatives and explanations follow suit.
    """
    form.check(task)
    if not form.positives and not form.negatives:
        return task.definition
    text = f"Definition: {task.definition}"
    for example in _positives(task, form) + _negatives(task, form):
        if count_tokens(text + example) <= form.max_tokens:
            text = example + text
    return text


def prompt(
    task: records.Task,
    instance: records.Instance,
    form: Format,
    count_tokens: CountTokens,
) -> str:
    """Tk-Instruct's text: definition, examples, instance and the cue `Output: `.

    An example is told while the whole fits `form.max_tokens`; of positives and of
    negatives, the first that does not fit ends the list.
    """
    form.check(task)
    text = _full_stop(f"Definition: {task.definition}") + "\n\n"
    question = (
        "Now complete the following example -\n"
        + _full_stop(f"Input: {instance.input.strip()}")
        + "\nOutput: "
    )
    for examples_of_a_kind in (_positives(task, form), _negatives(task, form)):
        for example in examples_of_a_kind:
            if count_tokens(text + example + "\n" + question) > form.max_tokens:
                break
            text += example + "\n"
    return text + question


def examples(
    split: splits.Split,
    form: Format,
    count_tokens: CountTokens,
    *,
    seed: int | None,
) -> Iterator[dict[str, Any]]:
    """Yields the examples of a split as strings, task after task.

    Args:
      split: tasks and instances.
      form: what is told of a task.
      count_tokens: the number of tokens of a text, its end of sequence included.
      seed: the target is one of the references, drawn once for each instance by this
        seed and the names of task and instance; None takes the first reference.

    Yields:
      `condition`, `inputs` (the bare instance), `prompt`, `targets`, `references`
      (list of strings), `task`, `category`, `id`.
    """
    for task in split.tasks:
        told = condition(task, form, count_tokens)
        for instance in task.instances:
            yield {
                "condition": told,
                "inputs": instance.input,
                "prompt": prompt(task, instance, form, count_tokens),
                "targets": _target(task, instance, seed),
                "references": list(instance.outputs),
                "task": task.name,
                "category": task.category,
                "id": instance.id,
            }


def _target(task: records.Task, instance: records.Instance, seed: int | None) -> str:
    if seed is None:
        return instance.outputs[0]
    rng = random.Random(f"{seed}/{task.name}/{instance.id}")
    return rng.choice(instance.outputs)


def _positives(task: records.Task, form: Format) -> list[str]:
    told = (task.positives or ())[: form.positives]
    return _render("Positive", told, form.explanations)


def _negatives(task: records.Task, form: Format) -> list[str]:
    told = (task.negatives or ())[: form.negatives]
    return _render("Negative", told, form.explanations)


def _render(
    kind: str, demonstrations: tuple[records.Example, ...], explain: bool
) -> list[str]:
    """The demonstrations as texts that end in one newline each."""
    texts = []
    for number, example in enumerate(demonstrations, start=1):
        lines = [f" {kind} Example {number} -"]
        lines.append(_full_stop(f"Input: {example.input.strip()}"))
        lines.append(_full_stop(f" Output: {example.output.strip()}"))
        if explain and example.explanation is not None:
            lines.append(_full_stop(f" Explanation: {example.explanation.strip()}"))
        texts.append("".join(line + "\n" for line in lines))
    return texts


def _full_stop(text: str) -> str:
    return text if text[-1] in string.punctuation else text + "."
