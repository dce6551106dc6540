"""One training step: exact sums of gradients, and its randomness."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint

from hyperx import config
from hyperx.methods.hint import Quirks
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig
from hyperx.runs.state import Recipe, TrainState
from hyperx.runs.step import make_step

pytestmark = pytest.mark.usefixtures("mesh")


@dataclasses.dataclass(frozen=True)
class Momentum:
    """Keeps the first gradients as they are, which normalising optimizers hide."""

    def build(self, axes):
        return optax.sgd(0.1, momentum=0.9)


def first_state(recipe):
    params = initial_params(recipe.config)
    return TrainState(np.int32(0), params, recipe.transformation.init(params))


def test_micro_batches_add_up_to_their_batch():
    recipe = Recipe(tiny_hint(), Momentum())
    state = first_state(recipe)
    batch, key = random_batch(groups=4), jax.random.key(1)

    def after(micro_batches):
        step = make_step(recipe, micro_batches=micro_batches, z_loss=0.01)
        return jax.device_get(jax.jit(step)(state, batch, key))

    (whole, metrics), (parts, same) = after(1), after(2)
    for name in metrics:
        np.testing.assert_allclose(same[name], metrics[name], rtol=1e-6)
    gradients = jax.tree_util.tree_leaves_with_path(whole.opt_state)
    for (path, gradient), summed in zip(
        gradients, jax.tree.leaves(parts.opt_state), strict=True
    ):
        size = np.linalg.norm(gradient)
        assert size > 0, path
        assert np.linalg.norm(summed - gradient) <= 1e-6 * size, path
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, atol=1e-6),
        whole.params,
        parts.params,
    )


def test_groups_must_divide_into_micro_batches():
    recipe = Recipe(tiny_hint(), Momentum())
    state = jax.eval_shape(recipe.init, jax.random.key(0))
    step = make_step(recipe, micro_batches=3)
    with pytest.raises(ValueError, match="to divide the 4 groups.*got 3"):
        jax.eval_shape(step, state, random_batch(groups=4), jax.random.key(0))


def test_dropout_is_drawn_anew_at_every_step():
    backbone = config.T5Config(**(vars(TINY) | {"dropout_rate": 0.3}))
    recipe = Recipe(ModelConfig(backbone=backbone, method=Plain()), Momentum())
    batch = random_batch()
    del batch["condition_tokens"]
    state = first_state(recipe)
    step = jax.jit(make_step(recipe))

    def loss(number, seed):
        at = state.replace(step=np.int32(number))
        return float(step(at, batch, jax.random.key(seed))[1]["loss"])

    assert loss(0, 1) == loss(0, 1)
    assert len({loss(0, 1), loss(1, 1), loss(0, 2)}) == 3


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_of_the_generator_is_its_own(rate):
    """The published code drops there whatever the model's rate, which is 0 here."""
    recipe = Recipe(tiny_hint(quirks=Quirks(generator_dropout=rate)), Momentum())
    batch, state = random_batch(), first_state(recipe)
    step = jax.jit(make_step(recipe))
    losses = {float(step(state, batch, jax.random.key(n))[1]["loss"]) for n in (1, 2)}
    assert len(losses) == (2 if rate else 1)
