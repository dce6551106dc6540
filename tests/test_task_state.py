"""Task states as data: saved, selected, joined, refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import initial_params, random_batch, tiny_hint

from hyperx import load_state, sharding, task_state

LAYERS, PREFIX, BOTTLENECK, HEADS, HEAD_DIM, WIDTH = 3, 2, 4, 4, 12, 32


@pytest.fixture(scope="module")
def adapt():
    """A function from condition tokens to their state, of one tiny HINT."""
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        config = tiny_hint()
        module, params = config.build(), initial_params(config)
        compiled = jax.jit(
            lambda t: module.apply({"params": params}, t, method="adapt")
        )
        yield lambda tokens: compiled(tokens).replace(fingerprint="tiny")


@pytest.fixture(scope="module")
def state(adapt):
    return adapt(random_batch(groups=3)["condition_tokens"])


def assert_equal(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_layout(state):
    decoder = state.decoder
    assert state.groups == 3
    prefix = (LAYERS, 3, PREFIX, HEADS, HEAD_DIM)
    assert decoder.cross_attention.prefix.key.shape == prefix
    assert decoder.mlp.adapter.down.shape == (LAYERS, 3, BOTTLENECK, WIDTH)
    assert state.encoder.cross_attention.prefix is None
    assert state.nbytes == sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def test_save_and_load(state, tmp_path):
    state.save(tmp_path / "state.safetensors")
    loaded = load_state(tmp_path / "state.safetensors")
    assert_equal(loaded, state)
    assert loaded.fingerprint == "tiny"


def test_take_and_concat_invert_each_other(state):
    parts = [state.take([0]), state.take([1, 2])]
    assert_equal(task_state.concat(parts), state)
    assert_equal(state.take([2, 0]).take([1]), state.take([0]))


def test_state_of_many_equals_states_of_each(adapt, state):
    tokens = random_batch(groups=3)["condition_tokens"]
    singles = task_state.concat([adapt(tokens[i : i + 1]) for i in range(3)])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), singles, state
    )


def test_concat_pads_memories_invisibly(adapt):
    short = adapt(jnp.array([[5, 6, 1]]))
    long = adapt(jnp.array([[5, 6, 7, 8, 1]]))
    joined = task_state.concat([short, long])
    assert joined.memory.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    np.testing.assert_array_equal(joined.memory.key[:, :1, :3], short.memory.key)


def test_states_of_different_models_do_not_mix(state):
    other = state.replace(fingerprint="other")
    with pytest.raises(ValueError, match="expected states of one model"):
        task_state.concat([state, other])


def test_damaged_and_foreign_files_are_refused(state, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a task state at"):
        load_state(tmp_path / "none")
    path = tmp_path / "state"
    state.save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a task state in"):
        load_state(path)
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1)}, path)
    with pytest.raises(ValueError, match="expected format"):
        load_state(path)


@pytest.mark.parametrize("indices", [[3], [-4], [0, 7], 0])
def test_there_are_only_the_conditions_that_there_are(state, indices):
    with pytest.raises(IndexError, match="expected a list of conditions among 3"):
        state.take(indices)
    assert_equal(state.take([-1]), state.take([2]))


def test_arrays_are_written_row_by_row_however_they_lie(state, tmp_path):
    def turned(leaf):
        return np.asarray(leaf).T.copy().T[..., ::1]

    lying = jax.tree.map(turned, state)
    assert not all(leaf.flags["C_CONTIGUOUS"] for leaf in jax.tree.leaves(lying))
    lying.save(tmp_path / "state.safetensors")
    assert_equal(load_state(tmp_path / "state.safetensors"), state)


def test_a_disk_that_cannot_be_written_is_an_os_error(state, tmp_path):
    (tmp_path / "state.partial").mkdir()  # Where it would be written first.
    with pytest.raises(OSError, match=r"state"):
        state.save(tmp_path / "state")
    assert not (tmp_path / "state").exists()
