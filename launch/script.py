"""Plans, and the shell scripts that they are: what is printed is what runs."""

import dataclasses
import pathlib
import shlex
from collections.abc import Mapping, Sequence

STEPS = ("pack", "create", "install", "run", "delete")

Command = Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launcher does for a job.

    Attributes:
        title: one line about it.
        files: written before anything runs: their text, by path.
        steps: commands by step, one of `STEPS`; steps without any are left out.
        waits: whether ``run`` ends with the training and ``create`` made machines only
            for it, so that by default they are deleted, however it ends.
    """

    title: str
    files: Mapping[pathlib.Path, str] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, Sequence[Command]]
    waits: bool

    @property
    def default(self) -> tuple[str, ...]:
        """The steps of a whole run."""
        return tuple(step for step in STEPS if step in self.steps and self._whole(step))

    def _whole(self, step: str) -> bool:
        return self.waits or step != "delete"


# Printed with the name of what failed, so that it is found above what it printed.
_REPORT = "trap 'echo \"launch: exit code $?: $BASH_COMMAND\" >&2' ERR"


def render(plan: Plan, steps: Sequence[str] = ()) -> str:
    """The shell script of a plan.

    It stops at the first command that fails, with its exit code. What ``delete`` undoes
    is undone however the script ends, from the moment that it exists.

    Args:
        plan: of a launcher.
        steps: which of its steps; none is a whole run.

    Raises:
        ValueError: if it has no such step.
    """
    chosen = [step for step in STEPS if step in (steps or plan.default)]
    unknown = [step for step in steps if step not in plan.steps]
    if unknown:
        raise ValueError(
            f"expected steps of {', '.join(plan.steps)}, got {', '.join(unknown)}"
        )
    lines = ["#!/usr/bin/env bash", f"# {plan.title}", "set -e", _REPORT]
    if chosen != ["delete"]:
        for path, text in plan.files.items():
            lines += ["", *_write(path, text)]
    finally_ = "delete" in chosen and len(chosen) > 1
    if finally_:
        lines += ["", *_delete(plan.steps["delete"])]
    for step in chosen:
        if step == "delete" and finally_:
            continue
        commands = [shlex.join(command) for command in plan.steps[step]]
        if finally_ and step == ("create" if "create" in chosen else chosen[0]):
            commands.insert(1 if step == "create" else 0, "trap delete EXIT")
        lines += ["", f"# {step}", *commands]
    return "\n".join(lines) + "\n"


def _write(path: pathlib.Path, text: str) -> list[str]:
    end = "END"
    while end in text.splitlines():
        end += "_"
    where = shlex.quote(str(path))
    folder = shlex.quote(str(path.parent))
    return [f"mkdir -p {folder}", f"cat > {where} <<'{end}'", text.rstrip("\n"), end]


def _delete(commands: Sequence[Command]) -> list[str]:
    """A function that deletes, and keeps the exit code unless it alone fails."""
    (command,) = map(shlex.join, commands)
    return [
        "delete() {",
        "  code=$?",
        "  trap - ERR",
        f"  {command} || {{",
        "    echo 'launch: not deleted, see above; it may still cost' >&2",
        '    [ "$code" -ne 0 ] || code=1',
        "  }",
        '  exit "$code"',
        "}",
    ]
