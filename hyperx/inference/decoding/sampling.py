"""Tokens of hypotheses that do not compete: the most likely, or drawn at random."""

import jax
import jax.numpy as jnp

from hyperx.inference.decoding.running import Running

_BITS = 32


def chosen(logits: jax.Array, running: Running) -> Running:
    """Every hypothesis continues by one token.

    Its score is that of the model itself, whatever temperature and cuts it was drawn
    with.

    Args:
        logits: of the next tokens, ``[G, R, W, V]``.
        running: up to them; its caches are those after them.
    """
    best = _likeliest(logits)
    warm = (running.requests.temperature > 0)[..., None]

    def some_drawn() -> jax.Array:
        return jnp.where(warm, _drawn(logits, running), best)

    needed = jnp.any(warm & ~running.done)
    tokens = jax.lax.cond(needed, some_drawn, lambda: best)
    value = jnp.take_along_axis(logits, tokens[..., None], axis=-1)
    value = (value - jax.nn.logsumexp(logits, axis=-1, keepdims=True))[..., 0]
    scores = jnp.where(running.done, running.scores, running.scores + value)
    return running.extended(tokens, scores)


def _drawn(logits: jax.Array, running: Running) -> jax.Array:
    """Tokens ``[G, R, W]``, each drawn with its hypothesis' own key."""
    requests = running.requests
    warm = requests.temperature > 0
    temperature = jnp.where(warm, requests.temperature, 1.0)
    logits = truncated(
        logits / temperature[..., None, None], requests.top_k, requests.top_p
    )

    def noise(key: jax.Array) -> jax.Array:
        key = jax.random.fold_in(key, running.position)
        return jax.random.gumbel(key, logits.shape[-1:], logits.dtype)

    noises = jax.vmap(noise)(running.keys.reshape(-1)).reshape(logits.shape)
    return _likeliest(logits + noises)


def _likeliest(logits: jax.Array) -> jax.Array:
    """The first of the greatest logits; `jnp.argmax` takes CPUs many times longer."""
    size = logits.shape[-1]
    tokens = jnp.arange(size).reshape(1, 1, 1, -1)
    greatest = jnp.max(logits, axis=-1, keepdims=True)
    found = jnp.min(jnp.where(logits == greatest, tokens, size), axis=-1)
    return jnp.minimum(found, size - 1)  # of logits that are no numbers


def truncated(logits: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """Logits of which those of unlikely tokens are minus infinity.

    Tokens as likely as the last that stays, stay too.

    Args:
        logits: ``[G, R, W, V]``.
        top_k: how many tokens stay, ``[G, R]``; all that there are, if it is more.
        top_p: the probability that those which stay have at least, ``[G, R]``; 1 for
            all. Of what `top_k` leaves.
    """

    def most(logits: jax.Array) -> jax.Array:
        counted = jnp.minimum(top_k, logits.shape[-1]).astype(jnp.float32)
        return _heaviest(logits, jnp.ones_like(logits), counted)

    def nucleus(logits: jax.Array) -> jax.Array:
        kept = _heaviest(logits, jax.nn.softmax(logits, axis=-1), top_p)
        return jnp.where((top_p < 1)[..., None, None], kept, logits)

    for cut, needed in ((most, top_k < logits.shape[-1]), (nucleus, top_p < 1)):
        logits = jax.lax.cond(jnp.any(needed), cut, lambda logits: logits, logits)
    return logits


def _heaviest(logits: jax.Array, weights: jax.Array, target: jax.Array) -> jax.Array:
    """Logits of the fewest greatest that weigh `target` ``[G, R]``; else -infinity.

    The least that stays is found bit by bit in 32 sums: that is exact and, unlike
    sorting a vocabulary, quick everywhere.
    """
    order = _order(logits)

    def with_bit(index: jax.Array, least: jax.Array) -> jax.Array:
        bit = jnp.uint32(1) << (_BITS - 1 - index).astype(jnp.uint32)
        higher = jnp.where(order >= (least | bit), weights, 0.0)
        enough = jnp.sum(higher, axis=-1, keepdims=True) >= target[..., None, None]
        return jnp.where(enough, least | bit, least)

    nothing = jnp.zeros((*logits.shape[:-1], 1), jnp.uint32)
    least = jax.lax.fori_loop(0, _BITS, with_bit, nothing)
    return jnp.where(order >= least, logits, -jnp.inf)


def _order(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of float32 numbers."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    sign = jnp.uint32(1) << (_BITS - 1)
    return jnp.where(bits >= sign, ~bits, bits | sign)
