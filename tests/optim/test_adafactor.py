"""Adafactor equals optax's where that is right, and per layer where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperx import sharding
from hyperx.optim.optimizers import Adafactor

AXES = {
    "table": ("vocab", "embed"),
    "tall": ("mlp", "embed"),
    "bias": ("heads", "relpos_buckets"),
    "scale": ("embed",),
    "layers": {
        "kernel": ("layers", "embed", "mlp"),
        "scale": ("layers", "embed"),
        "gate": ("layers",),
    },
}
SHAPES = {
    "table": (16, 8),
    "tall": (24, 8),
    "bias": (4, 8),
    "scale": (8,),
    "layers": {"kernel": (3, 8, 24), "scale": (3, 8), "gate": (3,)},
}


def is_shape(leaf):
    return isinstance(leaf, tuple)


def random_tree(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=is_shape,
    )


def gradients(step):
    """Gradients of very different sizes from step to step."""
    return jax.tree.map(lambda g: g * 10.0 ** (step - 2), random_tree(step + 1))


def run(transformation, params, part=lambda tree: tree):
    """Parameters and state after four updates of a part of all parameters."""
    params = part(params)
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    for step in range(4):
        updates, state = update(part(gradients(step)), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_close(left, right):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), left, right
    )


def schedule(step):
    return 0.1 / (step + 2.0)


OPTIONS = [
    {},
    {"decay_rate": 0.6, "clipping_threshold": None},
    {"multiply_by_parameter_scale": False, "clipping_threshold": 0.5},
    {"min_dim_size_to_factor": 128},
    {"learning_rate": schedule},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_optax_on_each_layer(options):
    options = {"learning_rate": 0.01, "min_dim_size_to_factor": 8} | options
    params = random_tree(0)
    ours, _ = run(Adafactor(**options).build(AXES), params)
    optaxes = optax.adafactor(**options)

    def unstacked(tree):
        return {name: leaf for name, leaf in tree.items() if name != "layers"}

    assert_close(unstacked(ours), run(optaxes, params, unstacked)[0])
    for index in range(3):

        def layer(tree, index=index):
            return jax.tree.map(lambda leaf: leaf[index], tree["layers"])

        assert_close(layer(ours), run(optaxes, params, layer)[0])


def test_decay_offset_equals_optax_and_is_no_offset_before():
    params = {
        "w": jnp.asarray(np.random.default_rng(0).normal(size=(8, 16)), "float32")
    }
    axes = {"w": ("embed", "mlp")}
    grads = {"w": jnp.cos(params["w"])}
    options = dict(learning_rate=0.1, min_dim_size_to_factor=8)
    ours = Adafactor(**options, decay_offset=7).build(axes)
    theirs = optax.adafactor(**options, decay_offset=7)
    state = ours.init(params)._replace(count=jnp.int32(9))
    factored, *rest = theirs.init(params)
    their_state = (factored._replace(count=jnp.int32(9)), *rest)
    assert_close(
        ours.update(grads, state, params)[0],
        theirs.update(grads, their_state, params)[0],
    )
    # Up to the offset the moments are those of the step alone.
    _, state = ours.update(grads, ours.init(params), params)
    _, again = ours.update(jax.tree.map(lambda g: 2 * g, grads), state, params)
    assert_close(again.moments["w"]["v_row"], 4 * state.moments["w"]["v_row"])


def test_first_update_by_hand():
    # v = g^2, so the update before scaling is sign(g); its RMS is 1, not clipped; the
    # RMS of (3, 4) is sqrt(12.5).
    params, grads = {"b": jnp.array([3.0, 4.0])}, {"b": jnp.array([0.5, -7.0])}
    transformation = Adafactor(learning_rate=0.1).build({"b": ("embed",)})
    updates, _ = transformation.update(grads, transformation.init(params), params)
    np.testing.assert_allclose(
        updates["b"], 0.1 * np.sqrt(12.5) * np.array([-1.0, 1.0]), rtol=1e-6
    )


def test_state_axes_have_the_ranks_of_the_state():
    optimizer = Adafactor(learning_rate=0.1, min_dim_size_to_factor=8)
    params = random_tree(0)
    axes = optimizer.state_axes(params, AXES)
    state = optimizer.build(AXES).init(params)
    sizes = {"vocab": 16, "embed": 8, "mlp": 24, "heads": 4, "layers": 3}
    sizes["relpos_buckets"] = 8

    def check(leaf, names):
        assert leaf.shape == tuple(sizes[name] for name in names)

    jax.tree.map(check, state, axes)
    assert axes.moments["table"] == {"v_row": ("vocab",), "v_col": ("embed",)}
    assert axes.moments["bias"] == {"v": ("heads", "relpos_buckets")}
    assert axes.moments["layers"]["kernel"] == {
        "v_row": ("layers", "embed"),
        "v_col": ("layers", "mlp"),
    }


def test_eight_devices_equal_one():
    optimizer = Adafactor(learning_rate=0.1, min_dim_size_to_factor=8)
    mesh = sharding.make_mesh(2, model=4)
    params = random_tree(0)
    transformation = optimizer.build(AXES)
    shardings = sharding.tree_shardings(AXES, mesh)
    state_shardings = sharding.tree_shardings(optimizer.state_axes(params, AXES), mesh)
    one, one_state = run(transformation, params)
    placed = jax.device_put(params, shardings)
    with sharding.use(mesh):
        state = jax.jit(transformation.init, out_shardings=state_shardings)(placed)
        step = jax.jit(
            transformation.update, out_shardings=(shardings, state_shardings)
        )
        for index in range(4):
            grads = jax.device_put(gradients(index), shardings)
            updates, state = step(grads, state, placed)
            placed = optax.apply_updates(placed, updates)
    assert_close(one, placed)
    assert_close(one_state, state)
    v_col = state.moments["layers"]["kernel"]["v_col"]
    assert {shard.data.shape for shard in v_col.addressable_shards} == {(3, 6)}


@pytest.mark.parametrize(
    ("shape", "names"), [((2, 3), ("embed",)), ((2, 3, 4), ("heads", "embed", "mlp"))]
)
def test_refuses_axes_that_do_not_fit(shape, names):
    transformation = Adafactor(learning_rate=0.1).build({"w": names})
    with pytest.raises(ValueError, match="at most two axes besides 'layers'"):
        transformation.init({"w": jnp.zeros(shape)})
