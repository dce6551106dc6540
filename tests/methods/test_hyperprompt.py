"""HyperPrompt: the paper's counts, and that its variants are one family."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch
from flax.traverse_util import flatten_dict

from hyperx import config, model
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods.hyperprompt import HyperPrompt

VARIANTS = ("share", "sep", "global")
TASKS = tuple("abcde")
LENGTHS = {"encoder": 4, "decoder": 2}
KERNELS = ("key_down", "key_up", "value_down", "value_up")


def tiny(variant: str = "global", **fields) -> model.ModelConfig:
    fields = dict(bottleneck=3, task_width=8, raw_width=5, mlp_width=7) | fields
    lengths = {f"{stack}_length": length for stack, length in LENGTHS.items()}
    method = HyperPrompt(tasks=TASKS, variant=variant, **(lengths | fields))
    return model.ModelConfig(backbone=TINY, method=method)


def moved(full: model.ModelConfig):
    """Parameters whose hyper-prompts are large enough to matter."""
    params = initial_params(full)

    def move(leaf):
        return leaf + 0.5 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def stacks_of(params):
    return params["hypernetwork"]["generator"]


def with_stacks(params, change):
    """Parameters with ``change(stack, its parameters)`` in the generator."""
    stacks = {
        stack: own | change(stack, own) for stack, own in stacks_of(params).items()
    }
    return params | {"hypernetwork": {"generator": stacks}}


def batch_of(*tasks: int):
    condition = jnp.array(tasks)[:, None]
    return random_batch(len(tasks), 2) | {"condition_tokens": condition}


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def state_of(full: model.ModelConfig, params):
    """The state of all tasks."""
    module, tokens = full.build(), jnp.arange(len(TASKS))[:, None]
    adapt = jax.jit(lambda p: module.apply({"params": p}, tokens, method="adapt"))
    return adapt(params)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("size", "fields", "networks"),
    [
        # The formula's networks of one stack with 8 tasks, M = D / 32 by default, and
        # D + H * K of 512 + 384 for small, where the two differ, and 1536 for base.
        ("small", dict(variant="share"), 8 * 2 * 16 * 896),
        ("small", dict(variant="sep"), 8 * 8 * 2 * 16 * 896),
        ("small", {}, 64 * 2 * 16 * 896 + 8 * 64 + 8 * 64 + 3 * 64 * 64),
        (
            "base",
            dict(bottleneck=20, task_width=32, raw_width=48, mlp_width=96),
            32 * 2 * 20 * 1536 + 8 * 48 + 12 * 48 + (2 * 48 + 32) * 96,
        ),
        # A bias is one more entry of what the heads read.
        ("base", dict(head_bias=True), 65 * 2 * 24 * 1536 + 20 * 64 + 3 * 64 * 64),
    ],
)
def test_counts_are_the_papers_formula(size, fields, networks):
    backbone = config.t5_1_1(size)
    method = HyperPrompt(tasks=tuple("abcdefgh"), **fields)
    full = model.ModelConfig(backbone=backbone, method=method)
    stacks = stacks_of(model.abstract_parameters(full).shapes)
    for stack, length in (("encoder", 16), ("decoder", 6)):
        assert count(stacks[stack]) == length * 8 * backbone.embed_dim + networks


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_names(variant):
    shapes = model.abstract_parameters(tiny(variant)).shapes["hypernetwork"]
    own = ["task_embedding", "layer_embedding", "mlp_wi", "mlp_wo"]
    names = ["prompts", *KERNELS, *(own if variant == "global" else [])]
    assert set(flatten_dict(shapes, sep="/")) == {
        f"generator/{stack}/{name}" for stack in LENGTHS for name in names
    }


def local_networks(method: HyperPrompt, own):
    """Explicit kernels ``[L, tasks or 1, in, out]`` of a stack, in float64."""
    own = {name: np.asarray(leaf, np.float64) for name, leaf in own.items()}
    if method.variant != "global":
        sets = len(TASKS) if method.variant == "sep" else 1
        return {n: np.stack(np.split(own[n], sets, axis=1), axis=1) for n in KERNELS}
    tasks, layers = own["task_embedding"], own["layer_embedding"]
    codes = np.array([[[*task, *layer] for task in tasks] for layer in layers])
    codes = np.maximum(codes @ own["mlp_wi"], 0.0) @ own["mlp_wo"]
    if method.normalized_code:
        codes = codes - codes.mean(-1, keepdims=True)
        codes = codes / codes.std(-1, keepdims=True)
    if method.head_bias:
        codes = np.pad(codes, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
    kernels = {}
    for name in KERNELS:  # [D, t * M] and [t * M, H * K]
        heads, size = own[name], method.bottleneck
        if name.endswith("down"):
            heads = heads.reshape(len(heads), -1, size).swapaxes(0, 1)
        else:
            heads = heads.reshape(-1, size, heads.shape[-1])
        kernels[name] = np.einsum("ltn,nio->ltio", codes, heads)
    return kernels


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        *((variant, {}) for variant in VARIANTS),
        ("global", dict(normalized_code=False, head_bias=True)),
    ],
)
def test_hyper_prompts_are_those_of_the_explicit_local_networks(variant, fields):
    full = tiny(variant, **fields)
    params = moved(full)
    state = state_of(full, params)
    for stack, length in LENGTHS.items():
        own, parts = stacks_of(params)[stack], getattr(state, stack)
        kernels = local_networks(full.method, own)
        prompts = np.asarray(own["prompts"]).reshape(len(TASKS), length, -1)
        for side in ("key", "value"):
            hidden = np.maximum(prompts @ kernels[f"{side}_down"], 0.0)
            expected = hidden @ kernels[f"{side}_up"]
            found = getattr(parts.self_attention.prefix, side).reshape(expected.shape)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
        assert jax.tree.leaves((parts.cross_attention, parts.mlp)) == []


@pytest.mark.usefixtures("mesh")
def test_global_exported_is_sep():
    full, sep, batch = tiny("global"), tiny("sep"), batch_of(3, 0, 4)
    params = moved(full)

    def exported(stack, own):
        kernels = local_networks(full.method, own)
        return {
            name: jnp.asarray(x.reshape(len(x), -1, x.shape[-1]), jnp.float32)
            for name, x in kernels.items()
        }

    generated = logits_of(full, params, batch)
    learned = logits_of(sep, with_stacks(params, exported), batch)
    np.testing.assert_allclose(generated, learned, atol=2e-5, rtol=2e-5)


@pytest.mark.usefixtures("mesh")
def test_sep_with_tied_tasks_is_share():
    share, sep, batch = tiny("share"), tiny("sep"), batch_of(3, 0, 4)
    params = moved(share)

    def tied(stack, own):
        return {name: jnp.tile(own[name], (1, len(TASKS), 1)) for name in KERNELS}

    shared = logits_of(share, params, batch)
    separate = logits_of(sep, with_stacks(params, tied), batch)
    np.testing.assert_allclose(shared, separate, atol=1e-5)


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("variant", VARIANTS)
def test_which_prompts_a_group_gets_and_what_matters_of_them(variant):
    full, tasks = tiny(variant), (3, 0, 4)
    module, params, batch = full.build(), moved(full), batch_of(*tasks)

    def turned(stack, own):
        shape = (len(TASKS), LENGTHS[stack], -1)
        prompts = jnp.roll(own["prompts"].reshape(shape), 1, axis=1)
        return {"prompts": prompts.reshape(len(TASKS), -1)}

    @jax.jit
    def all_ways(params):
        def live(params, batch):
            return module.apply({"params": params}, batch)

        def kept(*tasks):
            conditioning = Conditioning.of(table.take(tasks))
            variables = {"params": params}
            return module.apply(variables, batch, conditioning, method="forward")

        table = state_of(full, params)
        groups = (
            {k: x[i : i + 1] for k, x in batch.items()} for i in range(len(tasks))
        )
        alone = [live(params, group) for group in groups]
        return (
            live(params, batch),
            kept(0, 3, 4),
            {
                "from a kept table": kept(*tasks),
                "each task alone": jnp.concatenate(alone),
                "prompts in another order": live(with_stacks(params, turned), batch),
            },
        )

    mixed, swapped, same = all_ways(params)
    for name, logits in same.items():
        np.testing.assert_allclose(mixed, logits, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(mixed[2], swapped[2], atol=2e-5)
    assert min(np.abs(mixed - swapped)[group].max() for group in (0, 1)) > 0.1


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("stack", LENGTHS)
def test_a_stack_without_prompts_has_none(stack):
    full = tiny(**{f"{stack}_length": 0})
    (other,) = LENGTHS.keys() - {stack}
    params = initial_params(full)
    state = state_of(full, params)
    assert stacks_of(params).keys() == {other}
    assert jax.tree.leaves(getattr(state, stack)) == []
    assert len(jax.tree.leaves(getattr(state, other))) == 2


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("variant", VARIANTS)
def test_hyper_prompts_start_alike_at_base_width(variant):
    """Keys and values of every variant start with a root mean square of about 0.2."""
    sizes = dict(num_encoder_layers=2, num_decoder_layers=2, vocab_size=16, mlp_dim=8)
    method = HyperPrompt(tasks=TASKS, variant=variant)
    full = model.ModelConfig(backbone=config.t5_1_1("base", **sizes), method=method)
    params = initial_params(full)
    prompts = stacks_of(params)["encoder"]["prompts"]
    np.testing.assert_allclose([prompts.min(), prompts.max()], [-0.5, 0.5], atol=1e-3)
    for leaf in jax.tree.leaves(state_of(full, params)):
        assert 0.14 < jnp.sqrt(jnp.mean(leaf**2)) < 0.26


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(tasks=()), "expected the names of the tasks"),
        (dict(variant="all"), "expected variant to be one of"),
        (dict(encoder_length=0, decoder_length=0), "expected prompts in the encoder"),
        (dict(decoder_length=-1), "expected prompts in the encoder"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        HyperPrompt(**(dict(tasks=TASKS) | fields))
