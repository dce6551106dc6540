"""hyperx: hypernetworks for language models, in JAX and Flax."""

from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": "hyperx.runs.models",
    "load_state": "hyperx.task_state",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    """Imports the public functions when they are first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'hyperx' has no attribute {name!r}")
    import importlib

    if name == "load":  # its vocabularies need TensorFlow, which is loud on its own
        importlib.import_module("hyperx.data.startup").prepare_tensorflow()
    return getattr(importlib.import_module(_LAZY[name]), name)
