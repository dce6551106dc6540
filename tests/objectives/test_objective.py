"""Objectives within a training step: exact sums, and teachers that stay as they are."""

import jax
import numpy as np
import optax
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.traverse_util import flatten_dict

from hyperx import model, sharding
from hyperx.methods.plain import Plain
from hyperx.objectives import objective
from hyperx.objectives.consistency import Consistency
from hyperx.objectives.distillation import Distillation
from hyperx.runs.state import Recipe, TrainState
from hyperx.runs.step import make_step

PLAIN = model.ModelConfig(backbone=TINY, method=Plain())
BOTH = (Distillation(teacher="unread", weight=0.5), Consistency(weight=10.0))


class Momentum:
    """Keeps the first gradients as they are."""

    def build(self, axes):
        return optax.sgd(0.1, momentum=0.9)


def first_state(recipe):
    params = initial_params(recipe.config)
    return TrainState(np.int32(0), params, recipe.transformation.init(params))


def batch():
    extra = {
        "prompt_tokens": random_batch(seed=3)["encoder_tokens"],
        "other_condition_tokens": random_batch(seed=4)["condition_tokens"],
    }
    return random_batch() | extra


def test_no_objective_is_the_token_loss(mesh):
    config = tiny_hint()
    params, key = initial_params(config), jax.random.key(0)
    module = config.build()

    def plain(p):
        rngs = {"dropout": key}
        logits = module.apply({"params": p}, random_batch(), rngs=rngs)
        return model.token_loss(logits, random_batch(), z_loss=0.1)

    def ours(p):
        return objective.loss(module, p, random_batch(), key, z_loss=0.1)

    expected, got = jax.jit(plain)(params), jax.jit(ours)(params)
    jax.tree.map(np.testing.assert_array_equal, expected, got)


def test_micro_batches_add_up_and_teachers_stay(mesh):
    recipe = Recipe(tiny_hint(), Momentum())
    state, key = first_state(recipe), jax.random.key(1)
    taught = initial_params(PLAIN, 1)
    teachers = (objective.Teacher(taught, PLAIN), None)
    before = jax.device_get(taught)

    def after(micro_batches):
        step = make_step(recipe, micro_batches=micro_batches, objectives=BOTH)
        return jax.device_get(jax.jit(step)(state, batch(), key, teachers))

    (whole, metrics), (parts, same) = after(1), after(2)
    assert {"distillation", "consistency"} <= metrics.keys()
    weighted = 0.5 * metrics["distillation"] + 10 * metrics["consistency"]
    expected = metrics["cross_entropy"] + weighted
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    assert min(metrics["distillation"], metrics["consistency"]) > 1e-6
    for name in metrics:
        np.testing.assert_allclose(same[name], metrics[name], rtol=1e-5, err_msg=name)
    gradients, sums = (
        flatten_dict(s.opt_state[0].trace, sep="/") for s in (whole, parts)
    )
    for path, gradient in gradients.items():
        size = np.linalg.norm(gradient)
        assert np.linalg.norm(sums[path] - gradient) <= 1e-5 * size, path
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(taught))


def test_the_same_on_eight_devices():
    config = tiny_hint()

    def sums(mesh):
        with sharding.use(mesh):
            where = sharding.tree_shardings(model.abstract_parameters(PLAIN).axes, mesh)
            taught = jax.device_put(initial_params(PLAIN, 1), where)
            placed = jax.device_put(batch(), sharding.batch_shardings(batch(), mesh))
            return jax.device_get(total(config, initial_params(config), placed, taught))

    def total(config, params, placed, taught):
        teachers = (objective.Teacher(taught, PLAIN), None)
        return jax.jit(
            lambda params, placed, teachers: objective.loss(
                config.build(),
                params,
                placed,
                None,
                objectives=BOTH,
                teachers=teachers,
            )
        )(params, placed, teachers)

    one = sharding.make_mesh(1, 1, devices=jax.devices()[:1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
        sums(one),
        sums(sharding.make_mesh(2, model=4)),
    )


def test_names_are_different():
    objective.check_names(BOTH)
    with pytest.raises(ValueError, match="of different kinds, got"):
        objective.check_names((*BOTH, Consistency()))
