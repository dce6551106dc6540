"""Task states to start tuning from: drawn at random, or the mean of others.

A generated state is one start among several: these give the same parts the values that
they have before any training, or those that are common to many conditions
(HyperTuning, Phang et al. 2023, compares the three).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from hyperx.adaptation import Adapter, LowRank, Part, Prefix, Scale, is_part
from hyperx.task_state import TaskState

_PROMPT_LIMIT = 0.5
_PREFIX_STDDEV = 0.02


def random(state: TaskState, key: jax.Array) -> TaskState:
    """The initial values of ordinary fine-tuning, in the structure of a state.

    Low-rank updates: `a` uniform within ``input width ** -0.5``, `b` zero (Hu et al.
    2022, in their published code). Adapters: `down` normal by fan-in, everything else
    zero, or one for the scale of a normalisation. Scales: one (Liu et al. 2022).
    Prefixes: normal with deviation 0.02. The prompt: uniform within 0.5 (Lester et al.
    2021). All but prefixes and prompt then change nothing. These are the values that
    the methods `lora`, `adapters`, `ia3`, `prefix_tuning` (without its network) and
    `prompt_tuning` start with.

    NOTE: Li and Liang (2021) draw prefixes by a network that training needs; there is
    none here. Houlsby et al. (2019) draw all of an adapter, close to zero.

    Args:
        state: of any conditions; its memory stays as it is.
        key: typed random key.
    """
    adaptations = (state.encoder, state.decoder)
    parts, structure = jax.tree.flatten(adaptations, is_leaf=is_part)
    *keys, last = jax.random.split(key, len(parts) + 1)
    drawn = [_drawn(part, own) for part, own in zip(parts, keys, strict=True)]
    encoder, decoder = jax.tree.unflatten(structure, drawn)
    prompt = state.prompt
    if prompt is not None:
        prompt = _uniform(last, prompt, _PROMPT_LIMIT)
    return state.replace(encoder=encoder, decoder=decoder, prompt=prompt)


def mean(states: Sequence[TaskState]) -> TaskState:
    """The mean of the parts of states of one model, without a memory.

    NOTE: means are taken array by array: the mean of low-rank updates is another one.

    Args:
        states: with the same number of conditions each.
    """

    def average(*leaves: jax.Array) -> jax.Array:
        stacked = jnp.stack([leaf.astype(jnp.float32) for leaf in leaves])
        return jnp.mean(stacked, axis=0).astype(leaves[0].dtype)

    return jax.tree.map(average, *(state.replace(memory=None) for state in states))


def _drawn(part: Part, key: jax.Array) -> Part:
    """Initial values of one part; its arrays may have axes in front."""
    zeros = jax.tree.map(jnp.zeros_like, part)
    match part:
        case LowRank():
            return zeros.replace(a=_uniform(key, part.a, part.a.shape[-1] ** -0.5))
        case Adapter():
            return zeros.replace(
                down=_normal(key, part.down, part.down.shape[-1] ** -0.5),
                norm_scale=jax.tree.map(jnp.ones_like, part.norm_scale),
            )
        case Prefix():
            keys = jax.random.split(key)
            return zeros.replace(
                key=_normal(keys[0], part.key, _PREFIX_STDDEV),
                value=_normal(keys[1], part.value, _PREFIX_STDDEV),
            )
        case Scale():
            return jax.tree.map(jnp.ones_like, part)
    raise TypeError(f"expected a part, got {type(part).__name__}")


def _normal(key: jax.Array, like: jax.Array, stddev: float) -> jax.Array:
    return (stddev * jax.random.normal(key, like.shape)).astype(like.dtype)


def _uniform(key: jax.Array, like: jax.Array, limit: float) -> jax.Array:
    drawn = jax.random.uniform(key, like.shape, minval=-limit, maxval=limit)
    return drawn.astype(like.dtype)
