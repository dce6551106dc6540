"""FiD-ICL: examples are read each on its own, and their order has no meaning."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint

from hyperx import model
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder
from hyperx.methods.fid_icl import FidIcl

pytestmark = pytest.mark.usefixtures("mesh")

END = 9  # ends an example
EXAMPLES = ([5, 6, 7, END], [8, 3, END], [4, 12, 13, 14, 1])


def joined(*examples: list[int]) -> list[int]:
    return list(itertools.chain(*examples))


def tiny(separator: int | None = END) -> model.ModelConfig:
    return model.ModelConfig(backbone=TINY, method=FidIcl(separator=separator))


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def encode(full: model.ModelConfig, params, tokens):
    """What is remembered of conditions ``[G, I]``."""
    module = full.build()

    @jax.jit
    def condition(params, tokens):
        return module.apply({"params": params}, tokens, method="condition").memory

    return condition(params, jnp.asarray(tokens))


def test_examples_are_encoded_as_if_alone():
    params = initial_params(tiny())
    # The second condition starts elsewhere in its row and has fewer examples.
    together = joined(*EXAMPLES)
    other = joined(EXAMPLES[1], EXAMPLES[0], [0] * 5)
    memory = encode(tiny(), params, [together, other])
    alone = [encode(tiny(None), params, [tokens]).hidden[0] for tokens in EXAMPLES]
    np.testing.assert_allclose(memory.hidden[0], jnp.concatenate(alone), atol=1e-5)
    np.testing.assert_allclose(
        memory.hidden[1, :7], jnp.concatenate([alone[1], alone[0]]), atol=1e-5
    )
    np.testing.assert_array_equal(memory.hidden[1, 7:], 0.0)
    np.testing.assert_array_equal(memory.mask[1], np.arange(12) < 7)


def test_without_a_separator_it_is_instruction_fusion():
    params, batch = initial_params(tiny(None)), random_batch()
    fusion = tiny_hint(bottleneck=0, prefix_length=0)
    names = jax.tree.structure(model.abstract_parameters(fusion).shapes)
    assert jax.tree.structure(params) == names
    one, other = (logits_of(full, params, batch) for full in (tiny(None), fusion))
    np.testing.assert_array_equal(one, other)


def test_order_of_examples_means_nothing():
    first, second, third = EXAMPLES[0], EXAMPLES[1], [4, 12, END]
    params, batch = initial_params(tiny()), random_batch(groups=1)

    def logits(full, *examples):
        condition = jnp.array([joined(*examples)])
        return logits_of(full, params, batch | {"condition_tokens": condition})

    one = logits(tiny(), first, second, third)
    np.testing.assert_allclose(one, logits(tiny(), third, first, second), atol=1e-5)
    # In a condition that is one text it does.
    one = logits(tiny(None), first, second, third)
    other = logits(tiny(None), third, first, second)
    assert not np.allclose(one, other, atol=1e-4)


def test_separate_encoder_takes_no_separator():
    encoder = InstructionEncoder(TINY, tied=False, separator=END)
    with pytest.raises(ValueError, match="expected no separator"):
        encoder.init(jax.random.key(0), jnp.ones((1, 3), jnp.int32), None)
