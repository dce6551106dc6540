"""Beam search: the W best hypotheses of a row, whether they have ended or not.

One that ended stays among them as long as it is better than continuations of others.
So a beam of one is greedy decoding, and a beam of all prefixes finds the best output.
"""

import jax
import jax.numpy as jnp

from hyperx.inference.decoding.running import Running


def penalty(lengths: jax.Array, alpha: jax.Array) -> jax.Array:
    """The divisor of log-probabilities of `lengths` tokens (Wu et al. 2016, eq. 14)."""
    return ((5.0 + lengths) / 6.0) ** alpha


def chosen(logits: jax.Array, running: Running) -> Running:
    """The best of all continuations and of all hypotheses that have ended.

    NOTE: as in GNMT's published decoder, finished hypotheses keep their place in the
    beam. Others, Hugging Face's and t5x's among them, keep as many besides.

    Args:
        logits: of the next tokens, ``[G, R, W, V]``.
        running: up to them; its caches are those after them.
    """
    groups, rows, beams, vocabulary = logits.shape
    alpha = running.requests.length_penalty[..., None]
    # No hypothesis can have more continuations among the best W.
    width = min(beams, vocabulary)
    best, tokens = jax.lax.top_k(logits, width)
    each = best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    continued = jnp.where(
        running.done[..., None], -jnp.inf, running.scores[..., None] + each
    ).reshape(groups, rows, -1)
    ended = jnp.where(running.done, running.scores, -jnp.inf)

    ranks = [
        ended / penalty(running.lengths, alpha),
        continued / penalty(running.position + 1, alpha),
    ]
    _, index = jax.lax.top_k(jnp.concatenate(ranks, axis=-1), beams)
    tokens = tokens.reshape(groups, rows, -1)
    tokens = jnp.concatenate([jnp.zeros_like(running.done, tokens.dtype), tokens], -1)
    scores = jnp.concatenate([ended, continued], axis=-1)
    tokens, scores = (jnp.take_along_axis(x, index, axis=-1) for x in (tokens, scores))
    parents = jnp.where(index < beams, index, (index - beams) // width)
    return _stopped(running.extended(tokens, scores, parents))


def _stopped(running: Running) -> Running:
    """The same; rows whose wanted outputs no live hypothesis can beat have ended.

    Log-probabilities only fall, so that a live hypothesis can at most divide its own by
    the penalty of the longest output.
    """
    requests, done = running.requests, running.done
    alpha = requests.length_penalty[..., None]
    ranks = running.scores / penalty(running.lengths, alpha)
    ended = jnp.sort(jnp.where(done, ranks, -jnp.inf), axis=-1, descending=True)
    wanted = requests.returned[..., None] - 1
    worst = jnp.take_along_axis(ended, wanted, axis=-1)
    hope = running.scores / penalty(requests.limit[..., None], alpha)
    hope = jnp.max(jnp.where(done, -jnp.inf, hope), axis=-1, keepdims=True)
    return running.replace(done=done | (worst >= hope))
