"""Metrics of a run: TensorBoard, and the same numbers as lines of JSON."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypedDict

from etils import epath

FILE_NAME = "metrics.jsonl"


class Record(TypedDict):
    """One line: the values of a collection, such as ``train``, at a step."""

    step: int
    collection: str
    values: dict[str, float]


class MetricsLog:
    """Writes metrics to ``MODEL_DIR/metrics.jsonl`` and ``MODEL_DIR/tensorboard``.

    A collection has one line per step: what a run wrote beyond the step from which it
    is resumed is dropped, and writing a step again replaces it.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        resumed_step: int = 0,
        tensorboard: bool = True,
    ) -> None:
        """Opens the log.

        Args:
            model_dir: the folder of the run; created where missing.
            resumed_step: the step from which the run continues; later ones are dropped.
            tensorboard: whether to write for TensorBoard, which imports TensorFlow.
        """
        self._path = epath.Path(model_dir) / FILE_NAME
        self._path.parent.mkdir(parents=True, exist_ok=True)
        records = read(model_dir) if self._path.exists() else []
        kept = [record for record in records if record["step"] <= resumed_step]
        self._written = {(record["step"], record["collection"]) for record in kept}
        _replace(self._path, kept)
        self._writer = _tensorboard_writer(model_dir) if tensorboard else None

    def write(self, step: int, collection: str, values: Mapping[str, Any]) -> None:
        """Writes scalars, visible to readers on return.

        Args:
            step: training steps done.
            collection: what was measured, such as ``train`` or ``eval/super_ni``.
            values: numbers or arrays of one element, by name.
        """
        numbers = {name: float(value) for name, value in values.items()}
        if (step, collection) in self._written:
            self._drop(step, collection)
        self._written.add((step, collection))
        record = Record(step=int(step), collection=collection, values=numbers)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_to_json(record))
        if self._writer is not None:
            tagged = {f"{collection}/{name}": value for name, value in numbers.items()}
            self._writer.write_scalars(step, tagged)
            self._writer.flush()

    def has(self, step: int, collection: str) -> bool:
        """Whether a collection has a line of that step."""
        return (step, collection) in self._written

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _drop(self, step: int, collection: str) -> None:
        kept = [
            record
            for record in read(self._path.parent)
            if (record["step"], record["collection"]) != (step, collection)
        ]
        _replace(self._path, kept)


def read(model_dir: str | os.PathLike[str]) -> list[Record]:
    """The metrics of a run, in the order in which they were written.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: for a malformed line, except a last one without its end: a killed
            run leaves it.
    """
    path = epath.Path(model_dir) / FILE_NAME
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [
        _from_json(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]


def _to_json(record: Record) -> str:
    # JSON has neither NaN nor infinities: they become text, which float() reads.
    values = {
        name: value if math.isfinite(value) else str(value)
        for name, value in record["values"].items()
    }
    return json.dumps({**record, "values": values}, allow_nan=False) + "\n"


def _from_json(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
        values = {name: float(value) for name, value in record["values"].items()}
        return Record(
            step=record["step"], collection=record["collection"], values=values
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected metrics in {where}, got {line!r}") from error


def _replace(path: epath.Path, records: Iterable[Record]) -> None:
    """Writes the file whole or not at all, whenever the process is killed."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(map(_to_json, records)), encoding="utf-8")
    partial.replace(path)


def _tensorboard_writer(model_dir: str | os.PathLike[str]) -> Any:
    from clu import metric_writers  # Imports TensorFlow.

    return metric_writers.SummaryWriter(os.path.join(model_dir, "tensorboard"))
