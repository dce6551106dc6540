"""Frozen parameters come back unchanged and cost no gradient."""

import jax
import jax.numpy as jnp
import pytest

from hyperx.optim import freezing

PARAMS = {
    "encoder": {"layers": {"wi": 1, "scale": 2}, "relpos_bias": 3},
    "decoder": {"layers": {"wi": 4, "scale": 5}},
    "hypernetwork": {"head": 6},
}


def test_split_and_merge_are_inverse():
    trained, frozen = freezing.split(PARAMS, ["encoder/", ".*/scale$"])
    assert trained == {
        "decoder": {"layers": {"wi": 4}},
        "hypernetwork": {"head": 6},
    }
    assert freezing.merge(trained, frozen) == PARAMS
    assert freezing.split(PARAMS, []) == (PARAMS, {})
    assert freezing.split(PARAMS, ["(?!hypernetwork/)"])[0] == {
        "hypernetwork": {"head": 6}
    }


def test_leaves_may_be_axis_names():
    axes = {"a": {"w": ("embed", "mlp")}, "b": ("embed",)}
    assert freezing.split(axes, ["b"]) == ({"a": axes["a"]}, {"b": ("embed",)})


def test_refuses_patterns_that_mean_nothing():
    with pytest.raises(ValueError, match=r"'encodr/layers/wi'.*encoder/layers/wi"):
        freezing.split(PARAMS, ["encoder/", "encodr/layers/wi"])
    with pytest.raises(ValueError, match="something to train"):
        freezing.split(PARAMS, [".*"])
    with pytest.raises(ValueError, match=r"disjoint, got both \['a'\]"):
        freezing.merge({"a": 1}, {"a": 2, "b": 3})


def test_frozen_weights_have_no_gradient_work():
    params = {name: {"w": jnp.ones((4, 4))} for name in ("first", "second", "third")}
    x = jnp.ones((2, 4))

    def forward(params):
        hidden = x
        for name in ("first", "second", "third"):
            hidden = jnp.tanh(hidden @ params[name]["w"])
        return hidden.sum()

    def dots(frozen):
        trained, held = freezing.split(params, frozen)

        def step(trained, held):
            def loss(trained):
                return forward(freezing.merge(trained, held))

            grads = jax.grad(loss)(trained)
            return grads, sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads))

        lowered = jax.jit(step).lower(trained, held).as_text()
        squares = len(jax.tree.leaves(trained))  # dots of the norm
        return lowered.count("stablehlo.dot_general") - squares

    # Three forward, three for weights, two that carry the gradient back.
    assert dots([]) == 3 + 3 + 2
    assert dots(["second"]) == 3 + 2 + 2
    assert dots(["first", "second"]) == 3 + 1 + 0


def test_one_text_is_not_several_patterns():
    with pytest.raises(ValueError, match=r"such as \('encoder/',\), got the text"):
        freezing.split(PARAMS, "encoder/")
