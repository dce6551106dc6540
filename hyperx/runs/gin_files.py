"""Where gin files are: paths, search paths, and those that come with hyperx."""

import contextlib
import difflib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

import gin
from etils import epath

PathLike = str | os.PathLike[str]

# The gin files that come with hyperx.
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"


@contextlib.contextmanager
def reader(search_paths: Sequence[PathLike]) -> Iterator[None]:
    """Makes gin find files by our rule, those of `include` statements too.

    A name is a path, or relative to one of `search_paths`, or to `CONFIGS`. Gin's own
    search paths would last as long as the process, and its readers log an error for
    each place that does not have the file.
    """
    here = epath.Path().resolve()
    folders = [here, *(here / path for path in search_paths), epath.Path(CONFIGS)]

    def open_first(name: str) -> TextIO:
        # Joined to a folder, the address of an object store would lose its scheme.
        for path in (epath.Path(name), *(folder / name for folder in folders)):
            if path.is_file():
                return path.open(encoding="utf-8")
        raise FileNotFoundError(_not_found(name, folders))

    readers = gin.config._FILE_READERS
    saved, readers[:] = readers[:], [(open_first, lambda name: True)]
    try:
        yield
    finally:
        readers[:] = saved


def listing(folder: str) -> dict[str, str]:
    """The gin files in a folder of `CONFIGS`, by name, with their first comment."""
    return {
        f"{folder}/{path.name}": _first_comment(path)
        for path in sorted((CONFIGS / folder).glob("*.gin"))
    }


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known names that look like `name`, or all, as the end of a message."""
    names = sorted(known)
    if matches := difflib.get_close_matches(name, names):
        return f"; did you mean {' or '.join(matches)}?"
    return f"; known are {', '.join(names) or 'none'}"


def _not_found(name: str, folders: Sequence[epath.Path]) -> str:
    known = [str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.gin")]
    places = ", ".join(map(str, folders))
    return f"expected a gin file {name} in one of {places}{did_you_mean(name, known)}"


def _first_comment(path: pathlib.Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""
