"""What was found of the units of an evaluation, and the files that keep it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath


@dataclasses.dataclass(frozen=True)
class Unit:
    """What is evaluated at once."""

    step: int
    task: str
    control: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of a unit.

    Attributes:
        unit: of the job.
        metrics: of the task; none if `lacks`.
        data: see `hyperx.data.evaluation.Evaluation.report`.
        seconds: that it took.
        lacks: why the task does not have this control, if so.
    """

    unit: Unit
    metrics: Mapping[str, float]
    data: Mapping[str, Any]
    seconds: float
    lacks: str | None = None


@dataclasses.dataclass(frozen=True)
class Kept:
    """Findings in files, each with the settings that it was found under.

    Attributes:
        folder: where they lie.
        split: that is evaluated, for their names.
    """

    folder: epath.Path
    split: str

    def read(self, unit: Unit, settings: Mapping[str, Any]) -> Finding | None:
        """The finding of a unit, if there is one of these very settings."""
        try:
            kept = json.loads(self._path(unit).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.pop("settings", None) != _json(settings):
            return None
        return Finding(unit=unit, **kept)

    def write(self, finding: Finding, settings: Mapping[str, Any]) -> None:
        """Keeps a finding."""
        kept = {"settings": settings} | dataclasses.asdict(finding)
        del kept["unit"]
        if jax.process_index() == 0:
            write_text(self._path(finding.unit), json.dumps(kept, indent=2) + "\n")

    def _path(self, unit: Unit) -> epath.Path:
        name = f"{unit.task}-{self.split}-{unit.control}-{unit.step}.json"
        return self.folder / name


def write_text(path: epath.Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _json(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value))
