"""P3 as TensorFlow Datasets keeps it: configurations that were prepared before."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from hyperx.data import folders, records
from hyperx.data.p3 import files as p3

_INFO = "dataset_info.json"


def files(
    directory: str,
) -> tuple[list[str], Callable[[str], Iterator[tuple[str, records.Record]]]]:
    """The configurations in a folder of prepared data sets, named as P3's own files.

    Args:
      directory: a `data_dir` of TensorFlow Datasets, or any folder above. Each data
        set in it is one configuration, by the name of its own configuration, or else
        by its name.

    Returns:
      A name for each configuration and split, and what reads one: places and records.

    Raises:
      ValueError: two data sets have the same name.
    """
    builders: dict[str, tfds.core.DatasetBuilder] = {}
    for path in sorted(folders.local(directory).rglob(_INFO)):
        builder = tfds.builder_from_directory(path.parent)
        name = builder.info.config_name or builder.name
        if name in builders:
            raise ValueError(
                f"expected one data set of the name {name!r} in {directory}, got "
                f"{builders[name].data_dir} and {builder.data_dir}"
            )
        builders[name] = builder
    names = {
        f"{name}/{split}{p3.ONLY_FILE}": (builder, split)
        for name, builder in builders.items()
        for split in builder.info.splits
    }
    return list(names), lambda name: _rows(*names[name])


def _rows(
    builder: tfds.core.DatasetBuilder, split: str
) -> Iterator[tuple[str, records.Record]]:
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    for number, row in enumerate(tfds.as_numpy(dataset)):
        place = f"{builder.data_dir}, {split}, row {number}"
        yield place, {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return [_value(entry) for entry in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value
