"""Merging: a task state folded into the backbone's kernels, so that it costs nothing.

Low-rank updates are added to the kernels that they update (Hu et al. 2022, section 4);
factors are multiplied into the kernel that writes what they rescale, or that reads it
(Liu et al. 2022, section 3.3). The result is a plain T5 for one task.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx.adaptation import LayerAdaptation, LowRank, Scale, is_part
from hyperx.task_state import TaskState

# Modules of a layer by what is generated for them.
MODULES = {
    "encoder": {"self_attention": "attention", "mlp": "mlp"},
    "decoder": {
        "self_attention": "self_attention",
        "cross_attention": "encoder_decoder_attention",
        "mlp": "mlp",
    },
}


def merge(params: Mapping[str, Any], state: TaskState) -> dict[str, Any]:
    """The parameters of a plain T5 that does what the state makes of this one.

    NOTE: computing in bfloat16 rounds merged kernels, and no longer their parts.

    Args:
        params: of the model that the state belongs to.
        state: of one condition, with low-rank updates and factors only.

    Returns:
        The backbone's parameters, without those of the hypernetwork.

    Raises:
        ValueError: if the state holds several conditions, or parts that are no change
            of a kernel.
    """
    _check(state)
    backbone = {k: v for k, v in params.items() if k != "hypernetwork"}
    flat = flatten_dict(backbone, sep="/")
    for stack, modules in MODULES.items():
        adapted: LayerAdaptation = getattr(state, stack)
        for site in modules:
            parts = getattr(adapted, site)
            # In the order of the backbone: it rescales what is updated already.
            for name, part in parts.low_rank.items():
                target = kernel(stack, site, name)
                flat[target] = flat[target] + _update(part)
            for name, part in parts.scale.items():
                target = kernel(stack, site, name)
                flat[target] = flat[target] * _factors(part, name)
    return unflatten_dict(flat, sep="/")


def kernel(stack: str, site: str, name: str) -> str:
    """The path of the stacked kernel that a part changes.

    Args:
        stack: ``encoder`` or ``decoder``.
        site: of `hyperx.adaptation.LayerAdaptation`.
        name: of a projection; ``hidden`` is what the output kernel reads.
    """
    name = "wo" if name == "hidden" else name
    return f"{stack}/layers/{MODULES[stack][site]}/{name}/kernel"


def _update(part: LowRank) -> jax.Array:
    """What is added to a kernel ``[L, in, out]``."""
    a, b = (x[:, 0].astype(jnp.float32) for x in (part.a, part.b))
    return part.scale * jnp.einsum("LNi,LNo->Lio", a, b)


def _factors(part: Scale, name: str) -> jax.Array:
    """What a kernel is multiplied by: its rows for hidden units, else its columns."""
    factor = part.factor[:, 0].astype(jnp.float32)
    return factor[:, :, None] if name == "hidden" else factor[:, None, :]


def _check(state: TaskState) -> None:
    if state.groups != 1:
        raise ValueError(f"expected a state of one condition, got {state.groups}")
    others = list(_unmergeable(state))
    if others:
        raise ValueError(
            f"expected low-rank updates and factors only, got {', '.join(others)}"
        )


def _unmergeable(state: TaskState) -> Iterator[str]:
    """Names of all that is no change of a kernel."""
    for stack in MODULES:
        for path, part in jax.tree_util.tree_leaves_with_path(
            getattr(state, stack), is_leaf=is_part
        ):
            if not isinstance(part, (LowRank, Scale)):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                yield f"{stack}/{name}"
    for name in ("memory", "prompt"):
        if getattr(state, name) is not None:
            yield name
