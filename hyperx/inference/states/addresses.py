"""Addresses: ids of task states, from what they were made of."""

import hashlib

import jax
import numpy as np

from hyperx.task_state import TaskState

_DIGEST_BYTES = 16


def of_condition(fingerprint: str, tokens: np.ndarray | None) -> str:
    """The id of a condition's state: the model's fingerprint and 32 digits more.

    Args:
        fingerprint: of the model.
        tokens: what its hypernetwork reads of one condition, ``[I]`` without padding;
            None for nothing.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    if tokens is not None:
        digest.update(b"condition" + tokens.astype("<i4").tobytes())
    return fingerprint + digest.hexdigest()


def of_state(state: TaskState) -> str:
    """The id of a state whose condition is not known, from its arrays."""
    digest = hashlib.blake2b(b"state", digest_size=_DIGEST_BYTES)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        where = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        digest.update(where.encode())
        digest.update(array.tobytes())
    return state.fingerprint + digest.hexdigest()
