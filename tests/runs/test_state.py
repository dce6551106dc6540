"""The train state: what is in it, and parameters from elsewhere."""

import re

import jax
import numpy as np
import pytest
from conftest import TINY, tiny_hint
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx import model, sharding
from hyperx.methods import plain
from hyperx.optim.optimizers import Adafactor, AdamW
from hyperx.runs.state import Recipe, load_initial

ALL_BUT_HYPERNETWORK = ("(?!hypernetwork/)",)


@pytest.mark.parametrize("kind", [Adafactor, AdamW])
def test_what_is_frozen_has_no_optimizer_state(kind):
    recipe = Recipe(tiny_hint(), kind(learning_rate=0.1), ALL_BUT_HYPERNETWORK)
    abstract = recipe.abstract(sharding.make_mesh())
    assert abstract.params.keys() > {"encoder", "decoder", "hypernetwork"}
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(abstract.opt_state)
        if leaf.ndim
    ]
    trained = len(jax.tree.leaves(abstract.params["hypernetwork"]))
    assert len(paths) >= trained
    assert all("hypernetwork/" in path for path in paths)


def test_every_leaf_says_where_it_lies():
    mesh = sharding.make_mesh(2, 4)
    recipe = Recipe(tiny_hint(), Adafactor(learning_rate=0.1, min_dim_size_to_factor=8))
    state = recipe.abstract(mesh)
    flat = flatten_dict(state.params, sep="/")
    kernel = "encoder/layers/mlp/wi_0/kernel"
    assert tuple(flat[kernel].sharding.spec) == (None, None, "model")
    moments = state.opt_state.moments["encoder"]["layers"]["mlp"]["wi_0"]["kernel"]
    assert moments["v_row"].shape == (2, 32)
    assert tuple(moments["v_row"].sharding.spec) == (None, None)
    assert moments["v_col"].shape == (2, 48)
    assert tuple(moments["v_col"].sharding.spec) == (None, "model")


@pytest.fixture
def params():
    """Parameters of HINT, all 1; cheaper than initialised ones."""
    return _filled(tiny_hint(), 1.0)


@pytest.fixture
def backbone():
    """Parameters of the same T5 without a hypernetwork, all 2, as numpy arrays."""
    config = model.ModelConfig(backbone=TINY, method=plain.Plain())
    return jax.device_get(_filled(config, 2.0))


def _filled(config, value):
    shapes = model.abstract_parameters(config).shapes
    return jax.tree.map(lambda s: jax.numpy.full(s.shape, value, s.dtype), shapes)


def test_a_backbone_is_loaded_and_the_hypernetwork_is_new(params, backbone):
    merged, counts = load_initial(params, backbone)
    total, loaded = (len(jax.tree.leaves(tree)) for tree in (params, backbone))
    assert counts == {"loaded": loaded, "copied": 0, "new": total - loaded}
    for path, leaf in flatten_dict(merged, sep="/").items():
        new = path.startswith("hypernetwork/")
        assert np.all(leaf == (1.0 if new else 2.0)), path
        assert isinstance(leaf, jax.Array)


def test_loaded_parameters_take_on_dtype_and_place(params, backbone):
    mesh = sharding.make_mesh()
    where = jax.sharding.NamedSharding(mesh, sharding.spec(()))
    params = jax.device_put(params, where)
    half = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), backbone)
    merged, _ = load_initial(params, half)
    leaves = jax.tree.leaves(merged)
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32")}
    assert all(leaf.sharding.is_equivalent_to(where, leaf.ndim) for leaf in leaves)


NORM = "encoder/encoder_norm/scale"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({NORM: None}, f"missing ['{NORM}'] (1)"),
        ({"more/of/it": np.ones(1)}, "not expected ['more/of/it'] (1)"),
        (
            {NORM: np.ones(7)},
            f"of another shape ['{NORM}: expected (32,), got (7,)'] (1)",
        ),
        (
            {"hypernetwork/generator/head_adapter_up_wi": np.ones((2, 2))},
            "head_adapter_up_wi: expected (32, 32), got (2, 2)'] (1)",
        ),
    ],
)
def test_leaves_that_do_not_fit_are_named(params, backbone, change, message):
    flat = flatten_dict(backbone, sep="/") | change
    flat = {path: leaf for path, leaf in flat.items() if leaf is not None}
    with pytest.raises(ValueError, match=re.escape(message)):
        load_initial(params, unflatten_dict(flat, sep="/"))


def test_a_hypernetwork_is_not_dropped(params, backbone):
    with pytest.raises(ValueError, match=r"not expected \['hypernetwork/.*\(28\)"):
        load_initial(backbone, jax.device_get(params))
