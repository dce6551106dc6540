"""Super-NaturalInstructions as a data set of the Hugging Face hub: definitions only.

Such a copy, e.g. `Muennighoff/natural-instructions`, has the official tasks as splits
`train` and `test`, and one row for each reference of an instance. It has neither
examples nor categories.
"""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperx.data.super_ni import records

COLUMNS = ("task_name", "id", "definition", "inputs", "targets")
CATEGORY = "uncategorised"


def readers(repository: str, split: str) -> dict[str, Callable[[], records.Task]]:
    """The tasks of a split by name, in the order of the rows, each read when called.

    Args:
      repository: name of the data set, or a local folder that `datasets` can load.
      split: `train` or `test`.

    Raises:
      FileNotFoundError: the data set or its split is missing or out of reach.
      ValueError: the `datasets` library or a column is missing.
    """
    rows = _load(repository, split)
    if not set(COLUMNS) <= set(rows.column_names):
        raise ValueError(
            f"expected the columns {COLUMNS} in {repository}, got {rows.column_names}"
        )
    places = collections.defaultdict(list)
    for place, name in enumerate(rows["task_name"][:]):
        places[name].append(place)
    return {
        name: functools.partial(_read_task, rows, places[name], f"{repository}, {name}")
        for name in places
    }


def _read_task(rows: Any, places: Sequence[int], source: str) -> records.Task:
    columns = rows.select(places)[:]
    for name in COLUMNS:
        for place, value in zip(places, columns[name], strict=True):
            if not isinstance(value, str):
                raise records.MalformedTask(
                    f"{source}: row {place}: {name}: expected a string, got {value!r}"
                )
    definitions = {text.strip() for text in columns["definition"]}
    if len(definitions) != 1 or "" in definitions:
        raise records.MalformedTask(
            f"{source}: expected one definition, got {sorted(definitions)}"
        )
    return records.Task(
        name=columns["task_name"][0],
        definition=definitions.pop(),
        category=CATEGORY,
        positives=None,
        negatives=None,
        instances=_instances(columns),
    )


def _instances(columns: Mapping[str, Sequence[str]]) -> tuple[records.Instance, ...]:
    """Rows of the same id and input are the references of one instance."""
    references = collections.defaultdict(list)
    for name, text, reference in zip(
        columns["id"], columns["inputs"], columns["targets"], strict=True
    ):
        references[name, text].append(reference)
    return tuple(
        records.Instance(id=name, input=text, outputs=tuple(outputs))
        for (name, text), outputs in references.items()
    )


def _load(repository: str, split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"expected the library `datasets` to read {records.HUB}{repository}, got "
            f"{error}; install it with `pip install 'hyperx[hf]'`"
        ) from error
    try:
        return datasets.load_dataset(repository, split=split)
    except Exception as error:  # Of several libraries, with no common base.
        raise FileNotFoundError(
            f"expected the {split} split of Super-NaturalInstructions in the data set "
            f"{repository} on the Hugging Face hub, got {type(error).__name__}: "
            f"{error}; check the name and the network, or {records.HOW_TO_GET}"
        ) from error
