"""Meshes: where arrays lie, and that it changes nothing but that."""

import dataclasses
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, random_batch, tiny_hint
from jax.sharding import NamedSharding, PartitionSpec

from hyperx import adaptation, axes, config, load_state, model, sharding
from hyperx.optim.adafactor import Adafactor
from hyperx.runs.state import Recipe, initial
from hyperx.runs.step import make_step

STEPS = 3


@pytest.fixture(scope="module")
def one():
    return sharding.make_mesh(1, 1, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def two_by_four():
    return sharding.make_mesh(2, model=4)


@pytest.fixture(scope="module")
def cube():
    return sharding.make_mesh(2, 2, 2)


def train(mesh):
    """States and losses of a few steps of HINT, dropout on."""
    dropping = config.T5Config(**(vars(TINY) | {"dropout_rate": 0.1}))
    recipe = Recipe(
        tiny_hint(dropping),
        Adafactor(learning_rate=1e-3, min_dim_size_to_factor=16),
    )
    abstract = recipe.abstract(mesh)
    state = initial(recipe, abstract, mesh, seed=0)
    batch = random_batch()
    batch = jax.device_put(batch, sharding.batch_shardings(batch, mesh))
    step = jax.jit(make_step(recipe))
    states, losses = [state], []
    with sharding.use(mesh):
        for _ in range(STEPS):
            state, metrics = step(state, batch, jax.random.key(1))
            states.append(state)
            losses.append(float(metrics["loss"]))
    return abstract, states, losses


@pytest.fixture(scope="module")
def spread(two_by_four):
    return train(two_by_four)


def test_training_is_the_same_on_one_device_and_on_eight(one, spread):
    _, expected, expected_losses = train(one)
    _, got, losses = spread
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert len(set(losses)) == STEPS
    for before, after in ((got[0], expected[0]), (got[-1], expected[-1])):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-5),
            jax.device_get(before),
            jax.device_get(after),
        )


def test_a_state_stays_where_it_is_declared_to_lie(spread):
    abstract, states, _ = spread
    for state in (states[0], states[-1]):
        for (path, leaf), wanted in zip(
            jax.tree_util.tree_leaves_with_path(state),
            jax.tree.leaves(abstract),
            strict=True,
        ):
            assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), path
    declared = jax.tree.leaves(jax.tree.map(lambda leaf: leaf.sharding.spec, abstract))
    assert any("model" in spec for spec in declared)


def test_generated_weights_lie_where_they_are_declared_to_lie(two_by_four, spread):
    module, params = tiny_hint().build(), spread[1][0].params
    tokens = random_batch()["condition_tokens"]
    tokens = jax.device_put(tokens, NamedSharding(two_by_four, PartitionSpec("data")))
    with sharding.use(two_by_four):
        state = jax.jit(
            lambda params, tokens: module.apply(
                {"params": params}, tokens, method="adapt"
            )
        )(params, tokens)
    parts = (state.encoder, state.decoder)
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    names = jax.tree.structure(parts).flatten_up_to(tuple(map(adaptation.axes, parts)))
    for (path, leaf), own in zip(leaves, names, strict=True):
        declared = NamedSharding(two_by_four, sharding.spec(own))
        assert tuple(declared.spec)[:2] == (None, ("data", "fsdp")), path
        assert leaf.sharding.is_equivalent_to(declared, leaf.ndim), path
        split_over_model = bool({"heads", "bottleneck"} & set(own))
        assert ("model" in declared.spec) == split_over_model, path
        parts_held = 8 if split_over_model else 2
        assert leaf.addressable_shards[0].data.size * parts_held == leaf.size, path
    assert len(leaves) == 4 * 2 + 2 * 3  # adapters in two stacks, three attentions


def test_groups_that_do_not_divide_are_refused(two_by_four):
    module = tiny_hint().build()
    batch = random_batch(groups=3)
    with (
        sharding.use(two_by_four),
        pytest.raises(
            ValueError,
            match=r"'task' to divide by 2: 2 \(data axis: .*\) x 1 \(fsdp axis: FSDP\)",
        ),
    ):
        jax.eval_shape(lambda: module.init(jax.random.key(0), batch))
    sharding.check_groups(4, two_by_four, micro_batches=2)
    for groups, micro_batches in ((3, 1), (6, 2), (1, 1)):
        with pytest.raises(
            ValueError, match=rf"2 \(data axis: .*{micro_batches} \(M.*got {groups}"
        ):
            sharding.check_groups(groups, two_by_four, micro_batches)


def test_constrain_places_and_leaves_broadcasts_whole(two_by_four):
    constrain = jax.jit(sharding.constrain, static_argnums=1)
    with sharding.use(two_by_four):
        split = constrain(jnp.zeros((2, 3, 8)), ("task", None, "heads"))
        whole = constrain(jnp.zeros((1, 3, 1)), ("task", None, "heads"))
    wanted = NamedSharding(two_by_four, PartitionSpec("data", None, "model"))
    assert split.sharding.is_equivalent_to(wanted, split.ndim)
    assert whole.sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("shape", "names", "error"),
    [
        ((2, 8), ("task",), "expected 2 axis names for (2, 8), got ('task',)"),
        ((2, 8), ("task", "haeds"), "expected logical axes among"),
        (
            (2, 6),
            ("task", "heads"),
            "'heads' to divide by 4: 4 (model axis: MODEL_PARALLEL), got size 6",
        ),
    ],
)
def test_misuse_of_constrain(two_by_four, shape, names, error):
    with sharding.use(two_by_four), pytest.raises(ValueError, match=re.escape(error)):
        sharding.constrain(jnp.zeros(shape), names)


def test_constrain_needs_a_mesh():
    with pytest.raises(RuntimeError, match="expected an ambient mesh, got none"):
        sharding.constrain(jnp.zeros(2), ("task",))


def test_every_logical_axis_has_a_rule():
    legend = {v for name, v in vars(axes).items() if name.isupper()}
    assert sharding.RULES.keys() == legend


def test_the_documented_rules_are_those_of_the_code():
    page = pathlib.Path(__file__).parents[1] / "docs" / "sharding.md"
    section = page.read_text("utf-8").split("\n## ")[1]
    assert section.startswith("Rules")
    rows = re.findall(r"^\| (`\w+`.*?) \| (.*?) \|", section, re.MULTILINE)
    documented = {
        name: tuple(re.findall(r"`(\w+)`", mesh_axes))
        for names, mesh_axes in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert documented == sharding.RULES


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("embed", "mlp"), ("fsdp", "model")),  # a parameter
        (("head_mlp", "embed_out"), ("model", "fsdp")),
        (("embed", "embed_out"), ("fsdp", None)),
        (("layers", "embed"), (None, "fsdp")),  # a norm
        (("task", "length", "embed"), (("data", "fsdp"), None, None)),  # activations
        (("task", "bottleneck", "embed"), (("data", "fsdp"), "model", None)),
        (("mlp", "heads"), (None, "model")),  # heads has the earlier rule
        ((None, "vocab"), (None, "model")),
    ],
)
def test_within_an_array_the_earlier_rule_takes_a_mesh_axis(names, wanted):
    assert tuple(sharding.spec(names)) == wanted


def test_a_parameter_that_does_not_divide_is_named():
    three = sharding.make_mesh(1, 3, devices=jax.devices()[:3])
    recipe = Recipe(tiny_hint(), Adafactor(learning_rate=1e-3))
    message = (
        r"'embed' of params/decoder/\S+ to divide by 3: 3 \(fsdp axis: FSDP\), "
        "got size 32"
    )
    with pytest.raises(ValueError, match=message):
        recipe.abstract(three)


def test_a_tree_is_declared_without_values(cube):
    shapes = {"kernel": jax.ShapeDtypeStruct((8, 6), jnp.float32), "step": jnp.ones(())}
    names = {"kernel": ("embed", "mlp"), "step": ()}
    declared = sharding.declared(shapes, names, cube)
    assert declared["kernel"].sharding == NamedSharding(
        cube, PartitionSpec("fsdp", "model")
    )
    assert declared["step"].sharding.is_fully_replicated
    with pytest.raises(ValueError, match="expected 2 axis names for .* of kernel"):
        sharding.declared(shapes, names | {"kernel": ("embed",)}, cube)


def test_a_task_state_lies_where_it_is_declared_to_lie(one, cube, tmp_path):
    """Made on one device, read from a file and used on many."""
    module = tiny_hint().build()
    tokens = random_batch()["condition_tokens"]
    with sharding.use(one):
        params = jax.jit(lambda key: model.init(tiny_hint(), key))(jax.random.key(0))
        state = module.apply({"params": params}, tokens, method="adapt")
    state.save(tmp_path / "state")
    loaded = load_state(tmp_path / "state")
    with sharding.use(cube):
        placed = jax.jit(lambda state: state.constrain())(loaded)
    wanted = sharding.declared(state, state.axes(), cube)
    leaves = jax.tree_util.tree_leaves_with_path(placed)
    for (path, leaf), declared in zip(leaves, jax.tree.leaves(wanted), strict=True):
        assert leaf.sharding.is_equivalent_to(declared.sharding, leaf.ndim), path
    for leaf in (placed.memory.key, placed.decoder.mlp.adapter.up):
        assert leaf.addressable_shards[0].data.size * 8 == leaf.size
    assert placed.memory.mask.addressable_shards[0].data.shape[0] == 1


@dataclasses.dataclass(frozen=True)
class SliceDevice:
    """A device as those of several TPU slices are."""

    id: int
    slice_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"
    process_index: int = 0


def test_gpu_nodes_share_what_axes_need():
    """JAX numbers nodes as slices; no axis has to end at one of them."""
    devices = [SliceDevice(n, slice_index=n // 8, platform="gpu") for n in range(16)]
    for sizes in ({"fsdp": 16}, {"model": 16}, {"fsdp": 2, "model": 8}):
        arranged = sharding.make_mesh(**sizes, devices=devices).devices
        assert [device.id for device in arranged.ravel()] == list(range(16))


def test_slices_share_the_data_axis_alone():
    devices = [SliceDevice(n, slice_index=n % 2) for n in range(16)]
    arranged = sharding.make_mesh(4, 2, 2, devices=devices).devices
    slices = np.vectorize(lambda device: device.slice_index)(arranged)
    np.testing.assert_array_equal(slices[:, 0, 0], [0, 0, 1, 1])
    assert (slices == slices[:, :1, :1]).all()
    with pytest.raises(ValueError, match="by 2 slices of devices, got 1"):
        sharding.make_mesh(1, 16, devices=devices)


def test_a_mesh_uses_all_devices():
    sizes = {"data": 2, "fsdp": 2, "model": 2}
    assert dict(sharding.make_mesh(fsdp=2, model=2).shape) == sizes
    with pytest.raises(ValueError, match=r"== 8 devices, got 3 \* 1 \* 2"):
        sharding.make_mesh(3, model=2)
