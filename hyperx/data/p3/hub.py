"""P3 on the Hugging Face hub: its files as they are, downloaded when they are read."""

import pathlib
from collections.abc import Callable

from hyperx.data.p3 import files as p3


def files(repository: str) -> tuple[list[str], Callable[[str], pathlib.Path]]:
    """The names of all files of a data set, and what downloads one.

    Args:
      repository: e.g. `bigscience/P3`.

    Raises:
      FileNotFoundError: the data set is missing or out of reach.
      ValueError: the library `huggingface_hub` is missing.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(
            f"expected the library `huggingface_hub` to read {p3.HUB}{repository}, got "
            f"{error}; install it with `pip install 'hyperx[hf]'`"
        ) from error

    def locate(name: str) -> pathlib.Path:
        return pathlib.Path(_reached(huggingface_hub.hf_hub_download, repository, name))

    return _reached(huggingface_hub.list_repo_files, repository), locate


def _reached(call: Callable, repository: str, *arguments: str):
    try:
        return call(repository, *arguments, repo_type="dataset")
    except Exception as error:  # Of several libraries, with no common base.
        raise FileNotFoundError(
            f"expected {' '.join(arguments) or 'P3'} in the data set {repository} on "
            f"the Hugging Face hub, got {type(error).__name__}: {error}; check name "
            f"and network, or {p3.HOW_TO_GET}"
        ) from error
