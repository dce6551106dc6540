"""The emission seam: generated inside the layer scan = generated beforehand."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint

from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.generators.queries import QueryGeneratorConfig, _Emit

pytestmark = pytest.mark.usefixtures("mesh")

COMPOSITIONS = {
    "everything": {},
    "adapters": dict(prefix_length=0, fusion=False),
    "prefixes": dict(bottleneck=0, fusion=False),
    "fusion": dict(bottleneck=0, prefix_length=0),
    "separate encoder": dict(tied_encoder=False),
}


@pytest.mark.parametrize("fields", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_inside_equals_materialized(fields):
    config = tiny_hint(**fields)
    params, batch, module = initial_params(config), random_batch(), config.build()

    def inside(params):
        return module.apply({"params": params}, batch)

    def beforehand(params):
        variables = {"params": params}
        state = module.apply(variables, batch["condition_tokens"], method="adapt")
        conditioning = Conditioning.of(state)
        return module.apply(variables, batch, conditioning, method="forward")

    def value_and_grad(fn):
        def total(params):
            logits = fn(params)
            weights = jnp.sin(jnp.arange(logits.size)).reshape(logits.shape)
            return jnp.sum(logits * weights), logits

        return jax.jit(jax.grad(total, has_aux=True))(params)

    (grads, logits), (other_grads, other_logits) = map(
        value_and_grad, (inside, beforehand)
    )
    np.testing.assert_allclose(logits, other_logits, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4),
        grads,
        other_grads,
    )


def test_nothing_materializes_to_nothing():
    assert jax.tree.leaves(Emission.nothing().materialize()) == []


def test_precomputed_is_the_identity():
    config = tiny_hint()
    module, params = config.build(), initial_params(config)
    tokens = random_batch()["condition_tokens"]
    adapt = jax.jit(lambda p: module.apply({"params": p}, tokens, method="adapt"))
    state = adapt(params)
    again = Emission.precomputed(state.decoder).materialize()
    jax.tree.map(np.testing.assert_array_equal, again, state.decoder)


def test_equal_emissions_share_a_compilation():
    """Emit functions hash by value: a new but equal one must not compile again."""
    generator = QueryGeneratorConfig(backbone=TINY, bottleneck=2, prefix_length=0)
    fn = _Emit(generator, 1)
    assert hash(fn) == hash(copy.deepcopy(fn))
    traces = []

    @jax.jit
    def use(emission):
        traces.append(1)
        return jax.tree.leaves(emission.layers)[0]

    for function in (fn, copy.deepcopy(fn)):
        use(Emission.of(function, shared=None, layers=jnp.ones(3)))
    assert len(traces) == 1
