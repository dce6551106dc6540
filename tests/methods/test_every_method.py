"""What must hold for every method that is shipped: equalities and gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import initial_params, random_batch

from hyperx import config, load_state, model, sharding
from hyperx.data import startup
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.inference.predictor import Predictor
from hyperx.methods.hyperprompt import HyperPrompt
from hyperx.methods.prefix_tuning import PrefixTuning
from hyperx.methods.text_to_lora import TextToLora
from hyperx.methods.zhyper import Zhyper
from hyperx.objectives import objective
from hyperx.runs import configuration, gin_files

METHODS = sorted(gin_files.listing("methods"))
# Toyworld's; one layer each, so that what is scanned has a first layer only to differ.
BACKBONE = config.t5_1_1(
    "tiny", embed_dim=32, head_dim=12, mlp_dim=48, vocab_size=128, num_decoder_layers=3
)
GROUPS, ROWS = 2, 2


class Case:
    """A method with parameters that are no longer at their start."""

    def __init__(self, file):
        startup.prepare_tensorflow()
        configuration.parse(["runs/toyworld.gin", file], ["MODEL_DIR = 'out'"])
        method = configuration.macro("METHOD")
        self.config = model.ModelConfig(backbone=BACKBONE, method=method)
        self.module = self.config.build()
        self.params = _moved(initial_params(self.config))
        self.batch = random_batch(GROUPS, ROWS)
        tokens = self.batch.pop("condition_tokens")
        if method.reads == "task":
            tokens = jnp.arange(GROUPS)[:, None] + 1
        if method.reads in ("condition", "task"):
            self.batch["condition_tokens"] = tokens

    def logits(self, params, batch):
        return self.module.apply({"params": params}, batch)

    def adapt(self, params):
        tokens = self.batch.get("condition_tokens")
        return self.module.apply({"params": params}, tokens, method="adapt")


def _moved(params):
    """Zeros and ones at the start would make equalities too easy."""

    def moved(key, leaf):
        # Small: large updates of queries saturate attention and magnify rounding.
        fan_in = leaf.shape[-2] if leaf.ndim > 1 else 1
        return leaf + 0.05 * fan_in**-0.5 * jax.random.normal(key, leaf.shape)

    @jax.jit
    def all_moved(tree):
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(jax.random.key(7), len(leaves))
        return structure.unflatten(map(moved, keys, leaves))

    if "hypernetwork" not in params:
        return params
    return params | {"hypernetwork": all_moved(params["hypernetwork"])}


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        yield Case(request.param)


def test_what_layers_share_is_in_float32(case):
    """Its gradients, of all layers, add up in its own dtype."""
    backbone = dataclasses.replace(BACKBONE, dtype="bfloat16")
    module = dataclasses.replace(case.config, backbone=backbone).build()
    tokens = case.batch.get("condition_tokens")

    def shared(params):
        conditioning = module.apply({"params": params}, tokens, method="condition")
        stacks = (conditioning.encoder, conditioning.decoder)
        return [leaf for s in stacks for leaf in jax.tree.leaves(s.emit.args)]

    leaves = jax.eval_shape(shared, case.params)
    assert jnp.bfloat16 not in {leaf.dtype for leaf in leaves}


def test_generated_inside_equals_beforehand_per_row_and_padded(case):
    batch, wide = case.batch, dict(case.batch)
    rows = {
        name: array.reshape(GROUPS * ROWS, 1, *array.shape[2:])
        for name, array in batch.items()
        if name != "condition_tokens"
    }
    if "condition_tokens" in batch:
        rows["condition_tokens"] = jnp.repeat(batch["condition_tokens"], ROWS, axis=0)
    padded = ["encoder_tokens"]
    if case.config.method.reads == "condition":
        padded.append("condition_tokens")
    for name in padded:
        width = [(0, 0)] * (batch[name].ndim - 1) + [(0, 5)]
        wide[name] = jnp.pad(batch[name], width)

    @jax.jit
    def all_ways(params):
        conditioning = Conditioning.of(case.adapt(params))
        beforehand = case.module.apply(
            {"params": params}, batch, conditioning, method="forward"
        )
        return case.logits(params, batch), {
            "beforehand": beforehand,
            "per row": case.logits(params, rows),
            "padded": case.logits(params, wide),
        }

    inside, others = all_ways(case.params)
    for name, other in others.items():
        np.testing.assert_allclose(
            inside, other.reshape(inside.shape), atol=2e-5, rtol=2e-5, err_msg=name
        )


def test_gradients_reach_every_parameter_of_the_hypernetwork(case):
    if "hypernetwork" not in case.params:
        pytest.skip("has no parameters of its own")

    @jax.jit
    def grads(params):
        return jax.grad(
            lambda p: objective.loss(case.module, params | p, case.batch, None)[0]
        )({"hypernetwork": params["hypernetwork"]})

    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads(case.params))
        if not np.any(leaf)
    ]
    assert dead == []


def test_cached_decoding_equals_teacher_forcing_from_a_saved_state(case, tmp_path):
    method = case.config.method
    predictor = Predictor(case.config, case.params, None, {})
    tokens = case.batch.get("condition_tokens")
    state = predictor.adapt_tokens(None if tokens is None else tokens[:1])
    state.save(tmp_path / "state")
    loaded = load_state(tmp_path / "state")
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, loaded, state)

    inputs = np.asarray(case.batch["encoder_tokens"][:1])
    out, scores = predictor.generate_tokens(inputs, loaded, 6)
    shifted = np.pad(out[0, :, :-1], ((0, 0), (1, 0)))
    logits = predictor.logits(inputs[0], shifted, loaded)
    table = np.asarray(jax.nn.log_softmax(logits))
    for row, expected, score in zip(out[0], table, scores[0], strict=True):
        length = np.flatnonzero(row == 1)[0] + 1 if 1 in row else len(row)
        np.testing.assert_array_equal(row[:length], expected[:length].argmax(-1))
        chosen = expected[np.arange(length), row[:length]].sum()
        np.testing.assert_allclose(score, chosen, atol=1e-4)
    assert model.ModelConfig.from_json(case.config.to_json()).method == method


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextToLora(rank=0), "a rank of at least 1, got 0"),
        (lambda: Zhyper(rank=0), "a rank of at least 1, got 0"),
        (lambda: PrefixTuning(hidden=0), "a hidden width of at least 1, or None"),
        (lambda: HyperPrompt(tasks=("a",), bottleneck=0), "a bottleneck of at least"),
        (lambda: HyperPrompt(tasks="copa"), r"such as \('copa',\), got the text"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
