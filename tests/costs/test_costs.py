"""Operations, against products counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from conftest import TINY, tiny_hint

from hyperx import costs, model
from hyperx.methods import plain


def test_products_and_loops_by_hand():
    def fn(x, kernel):
        x = jax.lax.scan(lambda x, _: (x @ kernel, None), x, None, length=5)[0]
        return jax.jit(jax.checkpoint(jnp.dot))(x, kernel)

    x, kernel = jnp.ones((3, 4)), jnp.ones((4, 4))
    assert costs.flops(fn, x, kernel) == 6 * 2 * 3 * 4 * 4
    batched = lambda a, b: jnp.einsum("GRTD,GMD->GRTM", a, b)  # noqa: E731
    shapes = jnp.ones((2, 3, 5, 7)), jnp.ones((2, 4, 7))
    assert costs.flops(batched, *shapes) == 2 * (2 * 3 * 5) * 4 * 7


def test_loops_of_unknown_length_are_refused():
    loop = lambda x: jax.lax.while_loop(lambda x: x < 5, lambda x: x + 1, x)  # noqa: E731
    with pytest.raises(ValueError, match="expected loops of known length"):
        costs.flops(loop, 0)


def test_plain_t5_by_hand():
    """Projections of every token, and every pair of positions that meet."""
    config = model.ModelConfig(backbone=TINY, method=plain.Plain())
    source, target = 6, 5
    d, joined, f = TINY.embed_dim, TINY.joined_heads, TINY.mlp_dim
    attention = 4 * d * joined
    encoder = source * (attention + 3 * d * f) + 2 * source**2 * joined
    decoder = target * (attention + 2 * d * joined + 3 * d * f)
    decoder += source * 2 * d * joined + 2 * target * (source + target) * joined
    total = TINY.num_encoder_layers * encoder + TINY.num_decoder_layers * decoder
    total += target * d * TINY.vocab_size
    found = costs.of_model(config, condition=9, inputs=source, targets=target)
    assert found.example == 2 * total
    assert found.task == 0


def test_a_condition_is_paid_once_and_adapters_per_example():
    lengths = dict(condition=9, inputs=6, targets=5)
    base = costs.of_model(
        model.ModelConfig(backbone=TINY, method=plain.Plain()), **lengths
    )
    found = costs.of_model(tiny_hint(prefix_length=0, fusion=False), **lengths)
    applied = 2 * TINY.embed_dim * 4  # down and up, bottleneck 4
    layers = 6 * TINY.num_encoder_layers + 5 * TINY.num_decoder_layers
    assert found.example - base.example == 2 * layers * applied
    assert found.task > 0
