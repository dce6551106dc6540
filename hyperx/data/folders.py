"""Folders of data: on a disk."""

import os
import pathlib


def local(directory: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a folder that readers look into.

    Raises:
      ValueError: it is an address, such as `gs://bucket/folder`.
    """
    if "://" in os.fspath(directory):
        raise ValueError(
            f"expected a folder on a disk, got {directory}: copy the data to one; what "
            "`hyperx cache` makes of them may lie in a bucket"
        )
    return pathlib.Path(directory).expanduser()
