"""Merged models compute what unmerged ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch

from hyperx import config, model
from hyperx.adaptation import (
    Adapter,
    LayerAdaptation,
    LowRank,
    Memory,
    Prefix,
    Scale,
    SiteParts,
)
from hyperx.inference import merging
from hyperx.methods.ia3 import Ia3
from hyperx.methods.lora import Lora
from hyperx.methods.plain import Plain
from hyperx.task_state import TaskState

TIED = config.t5_1_0(
    "tiny", embed_dim=32, head_dim=12, mlp_dim=48, vocab_size=64, num_decoder_layers=3
)
ALL = ("query", "key", "value", "out", "wi", "wo")


def moved(params):
    """Parameters whose updates and factors change something."""

    def move(leaf):
        return leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def logits_of(method, backbone, params, batch):
    module = model.ModelConfig(backbone=backbone, method=method).build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("backbone", [TINY, TIED], ids=["gated", "one kernel"])
@pytest.mark.parametrize(
    "method", [Lora(rank=3, alpha=5.0, projections=ALL), Ia3()], ids=["lora", "ia3"]
)
def test_merged_equals_unmerged(backbone, method):
    full = model.ModelConfig(backbone=backbone, method=method)
    params, batch = moved(initial_params(full)), random_batch()
    del batch["condition_tokens"]
    module = full.build()
    state = jax.jit(lambda p: module.apply({"params": p}, None, method="adapt"))(params)
    merged = merging.merge(params, state)
    plain = logits_of(Plain(), backbone, merged, batch)
    np.testing.assert_allclose(
        plain, logits_of(method, backbone, params, batch), atol=1e-5, rtol=1e-5
    )
    before = {k: v for k, v in params.items() if k != "hypernetwork"}
    assert not np.allclose(plain, logits_of(Plain(), backbone, before, batch), 0.1)


def test_a_factor_comes_after_an_update():
    """Of keys it scales columns; of hidden units, rows of the kernel that reads."""
    kernels = {
        "key": np.array([[[1.0, 2.0], [3.0, 4.0]]]),
        "wo": np.array([[[1.0, 2.0], [3.0, 4.0]]]),
    }
    params = {
        "encoder": {
            "layers": {
                "attention": {"key": {"kernel": kernels["key"]}},
                "mlp": {"wo": {"kernel": kernels["wo"]}},
            }
        }
    }
    a, b = jnp.array([[[[1.0, 0.0]]]]), jnp.array([[[[0.0, 5.0]]]])
    update = LowRank(a, b, 2.0)
    factor = Scale(jnp.array([[[10.0, 100.0]]]))
    state = TaskState(
        encoder=LayerAdaptation(
            self_attention=SiteParts(low_rank={"key": update}, scale={"key": factor}),
            mlp=SiteParts(low_rank={"wo": update}, scale={"hidden": factor}),
        )
    )
    layers = merging.merge(params, state)["encoder"]["layers"]
    np.testing.assert_array_equal(
        layers["attention"]["key"]["kernel"][0], [[10.0, 1200.0], [30.0, 400.0]]
    )
    np.testing.assert_array_equal(
        layers["mlp"]["wo"]["kernel"][0], [[10.0, 120.0], [300.0, 400.0]]
    )
    np.testing.assert_array_equal(kernels["key"][0], [[1.0, 2.0], [3.0, 4.0]])


def test_what_is_no_change_of_a_kernel_is_refused():
    def zeros(*shape):
        return jnp.zeros((2, 1, *shape))

    adapter = Adapter(zeros(3, 4), zeros(3, 4), zeros(3), zeros(4))
    prefix = Prefix(zeros(1, 2, 2), zeros(1, 2, 2))
    state = TaskState(
        encoder=LayerAdaptation(mlp=SiteParts(adapter=adapter)),
        decoder=LayerAdaptation(cross_attention=SiteParts(prefix=prefix)),
        memory=Memory(zeros(5, 2, 2), zeros(5, 2, 2), jnp.ones((1, 5), bool)),
        prompt=jnp.zeros((1, 3, 4)),
    )
    with pytest.raises(ValueError, match="factors only, got ") as error:
        merging.merge({}, state)
    named = str(error.value).partition("got ")[2].split(", ")
    parts = ["encoder/mlp/adapter", "decoder/cross_attention/prefix"]
    assert named == [*parts, "memory", "prompt"]


def test_several_conditions_are_refused():
    parts = SiteParts(scale={"hidden": Scale(jnp.ones((2, 3, 4)))})
    state = TaskState(encoder=LayerAdaptation(mlp=parts))
    with pytest.raises(ValueError, match="expected a state of one condition, got 3"):
        merging.merge({}, state)
