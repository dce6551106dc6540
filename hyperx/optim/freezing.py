"""What trains and what does not: two trees that together are all parameters.

Only the first is differentiated and given to the optimizer, so that a frozen parameter
has neither a gradient nor optimizer state.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict


def split(params: Any, frozen: Sequence[str]) -> tuple[dict, dict]:
    """Splits parameters into trained and frozen ones.

    Args:
        params: nested dicts; leaves may be anything, such as axis names.
        frozen: regular expressions. A parameter is frozen if one of them matches its
            path, joined by ``/``, from the start (`re.match`): ``encoder/`` freezes the
            encoder, ``(?!hypernetwork/)`` all but the hypernetwork, ``.*/scale$`` every
            scale.

    Returns:
        Two nested dicts, trained and frozen.

    Raises:
        ValueError: if an expression matches nothing, nothing is left to train, or
            `frozen` is one text.
    """
    if isinstance(frozen, str):
        raise ValueError(
            f"expected regular expressions (FROZEN in gin), such as ({frozen!r},), got "
            f"the text {frozen!r}"
        )
    flat = flatten_dict(params, sep="/")
    for pattern in frozen:
        if not any(re.match(pattern, path) for path in flat):
            near = difflib.get_close_matches(pattern, flat, n=3, cutoff=0.0)
            raise ValueError(
                f"expected {pattern!r} to match the path of a parameter, got no match; "
                f"nearest: {', '.join(near)}"
            )
    held = {path for path in flat if any(re.match(p, path) for p in frozen)}
    if held == flat.keys():
        raise ValueError(f"expected something to train, got all frozen by {frozen}")
    return (
        unflatten_dict({p: v for p, v in flat.items() if p not in held}, sep="/"),
        unflatten_dict({p: v for p, v in flat.items() if p in held}, sep="/"),
    )


def merge(trained: Any, frozen: Any) -> dict:
    """The inverse of `split`.

    Raises:
        ValueError: if a parameter is in both.
    """
    first, second = flatten_dict(trained, sep="/"), flatten_dict(frozen, sep="/")
    twice = sorted(first.keys() & second.keys())
    if twice:
        raise ValueError(
            f"expected trained and frozen to be disjoint, got both {twice}"
        )
    return unflatten_dict(first | second, sep="/")
