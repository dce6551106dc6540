"""Checkpoints come back bit by bit, on any mesh, or not at all and with a reason."""

import logging
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from hyperx import sharding
from hyperx.checkpoints.store import Store, load_params


@struct.dataclass
class State:
    step: jax.Array
    params: dict
    opt_state: optax.OptState


def make_state(seed=0, width=16):
    rng = np.random.default_rng(seed)
    params = {
        "encoder": {"w": jnp.asarray(rng.normal(size=(8, width)), jnp.float32)},
        "half": jnp.asarray(rng.normal(size=8), jnp.bfloat16),
        "odd": jnp.array([np.nan, np.inf, -0.0], jnp.float32),
    }
    transformation = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
    opt_state = jax.tree.map(lambda x: x + x.dtype.type(1), transformation.init(params))
    return State(jnp.int32(seed), params, opt_state)


def shapes(state):
    return jax.eval_shape(lambda: state)


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def saved(tmp_path):
    """A store with steps 10 and 20."""
    with Store(tmp_path / "checkpoints") as store:
        for step in (10, 20):
            store.save(step, make_state(step))
        store.wait()
        yield store


def test_state_round_trips_with_its_classes(saved):
    state = make_state(20)
    assert_same_bits(saved.restore(20, shapes(state)), state)
    assert_same_bits(saved.restore(10, shapes(state)), make_state(10))


def test_a_digest_tells_arrays_apart(saved, tmp_path):
    with Store(tmp_path / "again") as store:
        store.save(20, make_state(20))
    assert store.checkpoint(20).digest == saved.checkpoint(20).digest
    assert saved.checkpoint(10).digest != saved.checkpoint(20).digest


def test_keeps_the_newest(tmp_path):
    with Store(tmp_path, save_period=5, keep=2) as store:
        assert store.latest() is None
        assert [step for step in range(1, 16) if store.due(step)] == [5, 10, 15]
        for step in (5, 10, 15):
            store.save(step, make_state(step))
        store.wait()
        assert (store.steps(), store.latest()) == ([10, 15], 15)
    assert Store(tmp_path).latest() == 15


def test_looking_makes_no_directory(tmp_path):
    assert Store(tmp_path / "none").latest() is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(FileNotFoundError, match="found none"):
        load_params(tmp_path / "none")


def test_buffers_may_be_donated_at_once(tmp_path):
    state, copy = make_state(1, width=4096), make_state(1, width=4096)
    with Store(tmp_path) as store:
        store.save(1, state)
        donated = jax.jit(lambda s: jax.tree.map(jnp.zeros_like, s), donate_argnums=0)
        donated(state)
    assert_same_bits(Store(tmp_path).restore(1, shapes(copy)), copy)


EIGHT = dict(data=2, fsdp=2, model=2)


@pytest.mark.parametrize(
    ("before", "after", "devices"),
    [
        (EIGHT, dict(data=1), 1),
        (dict(data=1), EIGHT, 8),
        (dict(data=2, model=4), dict(data=4, model=2), 8),
        (dict(data=4, fsdp=2), dict(fsdp=2, model=2), 4),
    ],
)
def test_restores_onto_another_mesh_to_the_bit(tmp_path, before, after, devices):
    names = {"embed": ("embed",), "w": ("embed", "mlp"), "step": ()}
    rng = np.random.default_rng(0)
    values = {
        "embed": jnp.asarray(rng.normal(size=16), jnp.bfloat16),
        "w": jnp.asarray(rng.normal(size=(8, 32)), jnp.float32).at[3, 5].set(np.nan),
        "step": jnp.int32(7),
    }

    def placed(axes):
        count = int(np.prod(list(axes.values())))
        mesh = sharding.make_mesh(**axes, devices=jax.devices()[:count])
        return sharding.declared(values, names, mesh)

    wanted = placed(after)
    with Store(tmp_path) as store:
        where = jax.tree.map(lambda leaf: leaf.sharding, placed(before))
        store.save(1, {"params": jax.device_put(values, where)})
        store.wait()
        for restored in (
            store.restore(1, {"params": wanted})["params"],
            load_params(tmp_path, abstract=wanted),
        ):
            assert_same_bits(restored, values)
            for name, leaf in restored.items():
                assert leaf.sharding == wanted[name].sharding
                assert len(leaf.sharding.device_set) == devices


def test_loads_parameters_alone(saved):
    loaded = load_params(saved.directory)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded))
    assert_same_bits(loaded, make_state(20).params)
    assert_same_bits(load_params(saved.directory, 10), make_state(10).params)


def test_numpy_parameters_round_trip(tmp_path):
    params = {"a": {"w": np.random.default_rng(0).normal(size=(3, 4)).astype("f4")}}
    with Store(tmp_path) as store:
        store.save(0, {"params": params})
    assert_same_bits(load_params(tmp_path), params)
    restored = load_params(tmp_path, abstract=shapes(params))
    assert isinstance(restored["a"]["w"], jax.Array)
    assert_same_bits(restored, params)


def test_another_tree_is_an_error_that_names_the_leaves(saved):
    wanted = shapes(make_state())
    params = dict(wanted.params)
    params["extra"] = params.pop("half")
    params["encoder"] = {"w": jax.ShapeDtypeStruct((8, 17), jnp.float32)}
    with pytest.raises(ValueError, match="does not fit") as error:
        saved.restore(20, wanted.replace(params=params))
    for part in (
        "1 missing: params/extra",
        "1 not expected: params/half",
        "params/encoder/w: expected float32[8, 17], got float32[8, 16]",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"expected float32\[8\], got bfloat16\[8\]"):
        half = jax.ShapeDtypeStruct((8,), jnp.float32)
        load_params(saved.directory, abstract=wanted.params | {"half": half})


def test_missing_and_repeated_steps_are_errors(saved):
    with pytest.raises(FileNotFoundError, match=r"checkpoint 15 .*\[10, 20\]"):
        saved.restore(15, shapes(make_state()))
    with pytest.raises(ValueError, match="expected a new step, got 20"):
        saved.save(20, make_state())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Reads that Orbax abandoned may end after it closed its event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [flip, cut, pathlib.Path.unlink])
def test_damage_is_found_and_nothing_is_lost(tmp_path, damage, capfd):
    state = make_state(20, width=1000)
    with Store(tmp_path) as store:
        store.save(10, state)
        store.save(20, state)
    # A file of data, and files that describe it.
    data = (tmp_path / "20" / "state").rglob("d/*")
    for path in (
        max(data, key=lambda path: path.stat().st_size),
        tmp_path / "20" / "state" / "manifest.ocdbt",
        tmp_path / "20" / "_CHECKPOINT_METADATA",
    ):
        before = path.read_bytes()
        damage(path)
        with pytest.raises(ValueError, match="checkpoint 20 .* to be intact") as error:
            store.restore(20, shapes(state))
        assert "Other checkpoints there: [10]" in str(error.value)
        assert store.steps() == [10, 20]
        path.write_bytes(before)
    assert_same_bits(store.restore(20, shapes(state)), state)
    assert "ERROR:absl" not in capfd.readouterr().err


def test_a_full_disk_is_an_error_and_keeps_what_was_there(tmp_path, capfd):
    state, large = make_state(1), make_state(2, width=100_000)
    store = Store(tmp_path)
    store.save(1, state)
    store.wait()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limit[1]))
    try:
        store.save(2, large)
        with pytest.raises(
            OSError, match=r"write checkpoint 2.*too large.*there: \[1\]"
        ):
            store.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert_same_bits(store.restore(1, shapes(state)), state)
    with store:
        store.save(2, large)
    assert_same_bits(store.restore(2, shapes(large)), large)
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
    assert "Traceback" not in capfd.readouterr().err


def test_is_silent(tmp_path, caplog):
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("error")
        with Store(tmp_path) as store:
            store.save(1, make_state())
        load_params(tmp_path)
    assert not [record for record in caplog.records if "orbax" in record.pathname]


SAVING = """
import sys
import jax.numpy as jnp
from hyperx.checkpoints.store import Store

store = Store(sys.argv[1], keep=2)
step = store.latest() or 0
while True:
    step += 1
    store.save(step, {"params": {"w": jnp.full((400, 1000), step, jnp.float32)}})
    print(step, flush=True)
"""


def test_killed_at_any_moment(tmp_path):
    wanted = {"params": {"w": jax.ShapeDtypeStruct((400, 1000), jnp.float32)}}
    reached, delays = 0, np.random.default_rng(0).uniform(0, 0.1, size=6)
    for delay in delays:
        process = subprocess.Popen(
            [sys.executable, "-c", SAVING, tmp_path],
            stdout=subprocess.PIPE,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for _ in range(3):  # that many saves begun, two of them complete
            begun = int(process.stdout.readline())
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        store = Store(tmp_path)
        latest = store.latest()
        assert latest >= begun - 1 > reached
        reached = latest
        restored = store.restore(latest, wanted)["params"]["w"]
        np.testing.assert_array_equal(restored, np.full((400, 1000), latest))
    with Store(tmp_path, keep=2) as store:
        store.save(reached + 1, {"params": {"w": jnp.zeros((400, 1000))}})
    # What the killed processes left half-written or half-deleted is gone.
    assert len(os.listdir(tmp_path)) == 2
