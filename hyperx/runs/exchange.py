"""What imports and exports share: folders that appear whole, and a progress bar."""

import contextlib
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import tqdm

# The SentencePiece model in a folder of Hugging Face.
VOCABULARY = "spiece.model"


def on_disk(path: str | os.PathLike[str]) -> pathlib.Path:
    """The absolute path of what will be written.

    Raises:
        ValueError: if it is an address.
    """
    if "://" in os.fspath(path):
        raise ValueError(
            f"expected a folder on a disk, got {path}: write to one and copy it there"
        )
    return pathlib.Path(os.path.abspath(path))


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields where to write a folder, which is `path` once its body is through.

    Until then it is ``.NAME.partial`` beside `path`; the next attempt removes what a
    killed one left of it.

    Args:
        path: of the folder.

    Raises:
        FileExistsError: if `path` is anything but an empty folder.
        ValueError: if it is an address: only on a disk do folders appear whole.
    """
    path = on_disk(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"expected a new or empty directory, got {path}")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def bar(doing: str, params: Any, itemsize: int) -> tqdm.tqdm:
    """A progress bar over the bytes of parameters, on a terminal.

    Args:
        doing: what is done.
        params: their tree.
        itemsize: bytes of a number.
    """
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) * itemsize
    return tqdm.tqdm(
        desc=doing, total=total, unit="B", unit_scale=True, disable=None, leave=False
    )
