"""HyperFormer and HyperFormer++: published counts, and a reference written out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch
from flax.traverse_util import flatten_dict

from hyperx import config, model
from hyperx.adaptation import Adapter
from hyperx.methods.hyperformer import HyperFormer
from hyperx.methods.plain import Plain
from hyperx.ops import adapters
from hyperx.optim import freezing
from hyperx.runs import configuration

TASKS = tuple("abcde")
FILES = {True: "methods/hyperformer_plus_plus.gin", False: "methods/hyperformer.gin"}
ARRAYS = ("down", "up", "down_bias", "up_bias", "norm_scale", "norm_bias")
AFFINE = ("kernel", "bias")
POSITIONS = {"mlp": 0, "self_attention": 1}
both_kinds = pytest.mark.parametrize("shared", [True, False])


def tiny(shared: bool, **fields) -> model.ModelConfig:
    sizes = dict(bottleneck=3, task_width=8, mlp_width=7) | fields
    method = HyperFormer(tasks=TASKS, shared_across_layers=shared, **sizes)
    return model.ModelConfig(backbone=TINY, method=method)


def moved(full: model.ModelConfig):
    """Parameters whose adapters are large enough to matter."""
    params = initial_params(full)

    def move(leaf):
        return leaf + 0.2 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def batch_of(*tasks: int):
    condition = jnp.array(tasks)[:, None]
    return random_batch(len(tasks), 2) | {"condition_tokens": condition}


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p, b: module.apply({"params": p}, b))(params, batch)


def state_of(full: model.ModelConfig, params):
    """The state of all tasks."""
    module, tokens = full.build(), jnp.arange(len(TASKS))[:, None]
    adapt = jax.jit(lambda p: module.apply({"params": p}, tokens, method="adapt"))
    return adapt(params)


def trained_by_the_gin_file(shared: bool, shapes):
    """What is left to train by path, and the method of the file."""
    configuration.parse(["runs/toyworld.gin", FILES[shared]], ["MODEL_DIR = 'out'"])
    trained, _ = freezing.split(shapes, configuration.macro("FROZEN"))
    return flatten_dict(trained, sep="/"), configuration.macro("METHOD")


@pytest.mark.parametrize(
    ("shared", "size", "bottleneck", "expected"),
    [
        (True, "base", None, 5_211_056),  # 24, a 32nd of the model width
        (True, "base", 48, 10_006_496),
        (True, "small", None, 2_415_776),  # 16
        (False, "base", None, 122_327_168),
        (False, "small", None, 27_997_056),
    ],
)
def test_counts_of_trained_parameters(shared, size, bottleneck, expected):
    tasks = tuple("abcdefgh")
    method = HyperFormer(
        tasks=tasks, bottleneck=bottleneck, shared_across_layers=shared
    )
    full = model.ModelConfig(backbone=config.t5_1_0(size), method=method)
    shapes = model.abstract_parameters(full).shapes
    trained, _ = trained_by_the_gin_file(shared, shapes)
    assert sum(math.prod(leaf.shape) for leaf in trained.values()) == expected


@both_kinds
def test_the_gin_files_train_the_hypernetwork_and_the_norms(shared):
    shapes = model.abstract_parameters(tiny(shared)).shapes
    trained, method = trained_by_the_gin_file(shared, shapes)
    assert (method.shared_across_layers, method.bottleneck) == (shared, None)
    names = {name for name in trained if not name.startswith("hypernetwork/")}
    assert names == {
        "encoder/encoder_norm/scale",
        "encoder/layers/pre_attention_layer_norm/scale",
        "encoder/layers/pre_mlp_layer_norm/scale",
        "decoder/decoder_norm/scale",
        "decoder/layers/pre_self_attention_layer_norm/scale",
        "decoder/layers/pre_cross_attention_layer_norm/scale",
        "decoder/layers/pre_mlp_layer_norm/scale",
    }
    assert set(trained) - names == {
        f"hypernetwork/{name}" for name in flatten_dict(shapes["hypernetwork"], sep="/")
    }


@both_kinds
def test_parameter_names(shared):
    shapes = model.abstract_parameters(tiny(shared)).shapes["hypernetwork"]
    sets = ["heads"] if shared else list(POSITIONS)
    own = [f"{i}/{name}/{x}" for i in sets for name in ARRAYS for x in AFFINE]
    if shared:
        own += ["layer_embedding", "position_embedding"]
        own += [f"{name}/{x}" for name in ("mlp_wi", "mlp_wo") for x in AFFINE]
        own += ["code_norm/scale", "code_norm/bias"]
    assert set(flatten_dict(shapes, sep="/")) == {
        "conditioner/embedding",
        *(
            f"generator/{stack}/{name}"
            for stack in ("encoder", "decoder")
            for name in own
        ),
    }


@pytest.mark.usefixtures("mesh")
@both_kinds
def test_how_parameters_start(shared):
    full = tiny(shared, task_width=64, mlp_width=128, bottleneck=8)
    start = flatten_dict(initial_params(full)["hypernetwork"], sep="/")
    for name, leaf in start.items():
        if name.endswith("bias"):
            assert not np.any(leaf), name
        elif name.endswith("code_norm/scale"):
            np.testing.assert_array_equal(leaf, 1.0)
        else:
            stddev = 0.01 if name.endswith("kernel") else 1.0
            error = 4 * (2 * leaf.size) ** -0.5  # four standard errors
            np.testing.assert_allclose(np.std(leaf), stddev, rtol=error, err_msg=name)


def written(params, full, stack: str, task: int, layer: int, site: str):
    """One adapter by hand, in float64; ``up`` as units by rows."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params["hypernetwork"])
    own = params["generator"][stack]
    code = params["conditioner"]["embedding"][task]
    if full.method.shared_across_layers:
        heads = own["heads"]
        embeddings = own["layer_embedding"][layer]
        position = own["position_embedding"][POSITIONS[site]]
        joined = np.concatenate([code, embeddings, position])
        hidden = joined @ own["mlp_wi"]["kernel"] + own["mlp_wi"]["bias"]
        code = np.maximum(hidden, 0.0) @ own["mlp_wo"]["kernel"] + own["mlp_wo"]["bias"]
        code = (code - code.mean()) / np.sqrt(code.var() + 1e-6)
        code = code * own["code_norm"]["scale"] + own["code_norm"]["bias"]
    else:
        heads = jax.tree.map(lambda x: x[layer], own[site])
    arrays = {k: code @ head["kernel"] + head["bias"] for k, head in heads.items()}
    for name in ("down", "up"):
        arrays[name] = arrays[name].reshape(full.method.bottleneck, TINY.embed_dim)
    return arrays


@pytest.mark.usefixtures("mesh")
@both_kinds
def test_adapters_are_those_written_by_hand(shared):
    full = tiny(shared)
    params = moved(full)
    state = state_of(full, params)
    for stack in ("encoder", "decoder"):
        parts = getattr(state, stack)
        assert jax.tree.leaves(parts.cross_attention) == []
        for site in POSITIONS:
            adapter = getattr(parts, site).adapter
            assert (adapter.placement, adapter.activation) == ("sequential", "gelu")
            for task, layer in ((0, 0), (3, 1), (4, 0)):
                expected = written(params, full, stack, task, layer, site)
                for name in ARRAYS:
                    found = getattr(adapter, name)[layer, task]
                    np.testing.assert_allclose(found, expected[name], atol=2e-5)


@pytest.mark.usefixtures("mesh")
def test_a_sublayer_is_the_papers_equation():
    """LN(U gelu(D s + b_D) + b_U) + s joins the stream; GELU approximated by tanh."""
    full = tiny(True)
    arrays = written(moved(full), full, "encoder", 2, 1, "mlp")
    x, s = np.random.default_rng(0).normal(size=(2, TINY.embed_dim))
    hidden = arrays["down"] @ s + arrays["down_bias"]
    cubic = np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)
    hidden = hidden * (1 + np.tanh(cubic)) / 2
    out = hidden @ arrays["up"] + arrays["up_bias"]
    out = (out - out.mean()) / np.sqrt(out.var() + 1e-5)
    expected = x + out * arrays["norm_scale"] + arrays["norm_bias"] + s

    one = {k: jnp.asarray(v, jnp.float32)[None] for k, v in arrays.items()}
    adapter = Adapter(**one, activation="gelu", placement="sequential")
    x, s = (jnp.asarray(v, jnp.float32)[None, None, None] for v in (x, s))
    found = adapters.joined(adapter, x, jnp.zeros_like(x), s, lambda kept: kept)
    np.testing.assert_allclose(found[0, 0, 0], expected, atol=1e-4)


@pytest.mark.usefixtures("mesh")
@both_kinds
def test_identity_start_is_the_plain_t5(shared):
    batch = batch_of(3, 0)
    plain = model.ModelConfig(backbone=TINY, method=Plain(reads="inputs"))
    inputs = {k: x for k, x in batch.items() if k != "condition_tokens"}
    for identity in (True, False):
        full = tiny(shared, identity_start=identity)
        params = initial_params(full)
        backbone = {k: x for k, x in params.items() if k != "hypernetwork"}
        ours = logits_of(full, params, batch)
        same = np.array_equal(ours, logits_of(plain, backbone, inputs))
        assert same == identity


@pytest.mark.usefixtures("mesh")
@both_kinds
def test_a_batch_of_mixed_tasks_equals_each_task_alone(shared):
    full, batch = tiny(shared), batch_of(3, 0, 4)
    params = moved(full)
    mixed = logits_of(full, params, batch)
    for i in range(3):
        group = {name: x[i : i + 1] for name, x in batch.items()}
        alone = logits_of(full, params, group)
        np.testing.assert_allclose(mixed[i : i + 1], alone, atol=2e-5)
    tasks = jnp.array([3, 1, 4])[:, None]
    other = logits_of(full, params, batch | {"condition_tokens": tasks})
    np.testing.assert_array_equal(other[::2], mixed[::2])
    assert np.abs(other[1] - mixed[1]).max() > 0.1


def test_wrong_arguments():
    with pytest.raises(ValueError, match="expected the names of the tasks"):
        HyperFormer()
    with pytest.raises(ValueError, match="expected a bottleneck of at least 1, or"):
        HyperFormer(tasks=TASKS, bottleneck=0)
