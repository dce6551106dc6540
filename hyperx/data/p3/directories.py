"""P3 where it lies: a folder, the Hugging Face hub, or what TFDS has prepared."""

import os

from hyperx.data import folders
from hyperx.data.p3 import files, hub


def open_directory(directory: str | os.PathLike[str] | None = None) -> files.Folder:
    """Looks up which configurations a folder or a data set of the hub has.

    Args:
      directory: holds the folders of configurations; or `hf:` and the name of a data
        set on the Hugging Face hub; or `tfds:` and a folder of configurations that
        TensorFlow Datasets has prepared; None takes the environment variable P3_DIR.

    Raises:
      FileNotFoundError: there is no configuration, or the hub is out of reach.
    """
    directory = directory or os.environ.get("P3_DIR")
    if not directory:
        raise FileNotFoundError(
            f"expected the folder of P3, got neither `directory` nor P3_DIR; "
            f"{files.HOW_TO_GET}"
        )
    if str(directory).startswith(files.HUB):
        repository = str(directory).removeprefix(files.HUB)
        return files.Folder(str(directory), *hub.files(repository))
    if str(directory).startswith(files.PREPARED):
        from hyperx.data.p3 import prepared  # It imports TensorFlow.

        folder = str(directory).removeprefix(files.PREPARED)
        return files.Folder(str(directory), *prepared.files(folder))
    root = folders.local(directory)
    names = [path.relative_to(root).as_posix() for path in root.glob("*/*.parquet")]
    return files.Folder(str(root), names, root.joinpath)
