"""What a state holds, by name."""

import jax

from hyperx.adaptation import Memory, Part, is_part
from hyperx.task_state import TaskState


def of(state: TaskState) -> dict[str, Part | Memory | jax.Array]:
    """The parts of a state by path, in order.

    Paths are such as ``encoder/self_attention/low_rank/query``; a fused memory is
    ``memory``, a soft prompt, which is an array, ``prompt``.
    """
    leaves = jax.tree_util.tree_leaves_with_path(
        state, is_leaf=lambda node: is_part(node) or isinstance(node, Memory)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): part
        for path, part in leaves
    }


def kind(part: Part | Memory | jax.Array) -> str:
    """What a part is: the name of its class, or ``Prompt``."""
    return "Prompt" if isinstance(part, jax.Array) else type(part).__name__


def listed(found: dict[str, Part | Memory | jax.Array]) -> str:
    """What parts there are, for messages: their kinds and where they are."""
    places: dict[str, list[str]] = {}
    for path, part in found.items():
        places.setdefault(kind(part), []).append(path)
    texts = (f"{name} ({', '.join(paths)})" for name, paths in places.items())
    return "; ".join(texts) or "nothing"
