"""The train state: what is in it, and parameters from elsewhere."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, tiny_hint
from flax.traverse_util import flatten_dict, unflatten_dict

from hyperx import model, sharding
from hyperx.checkpoints.checkpoint import Checkpoint
from hyperx.checkpoints.store import Store
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
    mesh = sharding.make_mesh(fsdp=2, model=4)
    recipe = Recipe(tiny_hint(), Adafactor(learning_rate=0.1, min_dim_size_to_factor=8))
    state = recipe.abstract(mesh)
    flat = flatten_dict(state.params, sep="/")
    kernel = "encoder/layers/mlp/wi_0/kernel"
    assert tuple(flat[kernel].sharding.spec) == (None, "fsdp", "model")
    moments = state.opt_state.moments["encoder"]["layers"]["mlp"]["wi_0"]["kernel"]
    assert moments["v_row"].shape == (2, 32)
    assert tuple(moments["v_row"].sharding.spec) == (None, "fsdp")
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


@pytest.fixture
def saved(tmp_path):
    """Saves parameters; returns the directory."""

    def save(params):
        with Store(tmp_path) as store:
            store.save(0, {"params": params})
        return tmp_path

    return save


def _filled(config, value):
    shapes = model.abstract_parameters(config).shapes
    return jax.tree.map(lambda s: jax.numpy.full(s.shape, value, s.dtype), shapes)


def test_a_backbone_is_loaded_and_the_hypernetwork_is_new(params, backbone, saved):
    merged, paths = load_initial(params, saved(backbone))
    total, loaded = (len(jax.tree.leaves(tree)) for tree in (params, backbone))
    counts = {kind: len(found) for kind, found in paths.items()}
    assert counts == {"loaded": loaded, "copied": 0, "new": total - loaded}
    for path, leaf in flatten_dict(merged, sep="/").items():
        new = path.startswith("hypernetwork/")
        assert np.all(leaf == (1.0 if new else 2.0)), path
        assert isinstance(leaf, jax.Array)


def test_a_copy_is_an_array_of_its_own(saved):
    own = {"a/w": jnp.zeros(3), "hypernetwork/w": jnp.zeros(3)}
    own["hypernetwork/new"] = jnp.zeros(2)
    directory = saved({"a": {"w": np.arange(3.0, dtype=np.float32)}})
    merged, paths = load_initial(
        unflatten_dict(own, sep="/"), directory, {"hypernetwork/": "a/"}
    )
    assert paths == {
        "loaded": {"a/w"},
        "copied": {"hypernetwork/w"},
        "new": {"hypernetwork/new"},
    }
    loaded, copied = merged["a"]["w"], merged["hypernetwork"]["w"]
    np.testing.assert_array_equal(copied, [0, 1, 2])
    loaded.delete()  # as where a step is given its buffers
    np.testing.assert_array_equal(copied, [0, 1, 2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_go_straight_to_their_devices(saved, backbone, dtype, monkeypatch):
    mesh = sharding.make_mesh(data=2, fsdp=2, model=2)
    declared = abstract(tiny_hint(), mesh)
    params = jax.jit(
        lambda: jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), declared),
        out_shardings=jax.tree.map(lambda s: s.sharding, declared),
    )()
    wanted = {}
    load = Checkpoint._load

    def noted(self, leaves):
        wanted.update(leaves)
        return load(self, leaves)

    monkeypatch.setattr(Checkpoint, "_load", noted)
    directory = saved(jax.tree.map(lambda leaf: leaf.astype(dtype), backbone))
    merged, _ = load_initial(params, directory)

    before, after = flatten_dict(params, sep="/"), flatten_dict(merged, sep="/")
    split = 0
    for path in flatten_dict(backbone, sep="/"):
        assert before[path].is_deleted(), path
        assert wanted[f"params/{path}"].sharding == before[path].sharding, path
        assert after[path].sharding.is_equivalent_to(
            before[path].sharding, after[path].ndim
        )
        assert after[path].dtype == np.float32
        assert np.all(after[path] == 2.0), path
        split += not after[path].is_fully_replicated
    assert split > 10
    assert not after["hypernetwork/generator/head_adapter_up_wi"].is_deleted()


def abstract(config, mesh):
    """Shapes of parameters, with where they lie."""
    parameters = model.abstract_parameters(config)
    return sharding.declared(parameters.shapes, parameters.axes, mesh)


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
def test_leaves_that_do_not_fit_are_named(params, backbone, saved, change, message):
    flat = flatten_dict(backbone, sep="/") | change
    flat = {path: leaf for path, leaf in flat.items() if leaf is not None}
    directory = saved(unflatten_dict(flat, sep="/"))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_initial(params, directory)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


def test_a_hypernetwork_is_not_dropped(params, backbone, saved):
    with pytest.raises(ValueError, match=r"not expected \['hypernetwork/.*\(28\)"):
        load_initial(backbone, saved(params))
