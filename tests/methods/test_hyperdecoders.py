"""Hyperdecoders: derived counts, and weights equal to the formula input by input."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params
from flax.traverse_util import flatten_dict
from hyperdecoders_reference import (
    BOTTLENECKS,
    TASKS,
    batch_for,
    code_of,
    conditioned,
    decoder_weights,
    encoded_alone,
    logits_of,
    moved,
    tiny,
    written,
)

from hyperx import config, model
from hyperx.adaptation import Adapter, Encoded, LayerAdaptation, SiteParts
from hyperx.backbone import steps
from hyperx.backbone.t5 import EOS
from hyperx.emission import Emission
from hyperx.hypernetworks.generators.instances import mean_pooled
from hyperx.inference.decoding import Greedy, Requests, loop
from hyperx.methods.hyperdecoders import Hyperdecoders

MODES = ("none", "manual", "manual_specific", "task", "generated")
GRID = [pair for pair in itertools.product(MODES, MODES) if pair != ("none", "none")]


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("size", "modes", "sizes", "fields", "expected"),
    [
        ("large", ("manual", "generated"), (64, 64, 128), {}, 22_452_400),
        (
            *("large", ("manual", "generated"), (64, 64, 128)),
            *(dict(pooled_mlp=False), 20_353_200),
        ),
        ("large", ("manual", "generated"), (512, 36, 72), {}, 32_836_172),
        ("base", ("manual", "generated"), (512, 36, 72), {}, 14_785_236),
        ("large", ("manual", "manual"), (230, 230, 128), {}, 22_670_112),
        ("large", ("task", "task"), (50, 50, 100), {}, 21_125_612),
        ("large", ("task", "generated"), (50, 50, 100), {}, 23_216_620),
    ],
)
def test_counts_of_the_published_configurations(size, modes, sizes, fields, expected):
    encoder, decoder = modes
    if "task" in modes:
        fields = fields | dict(reads="task", tasks=tuple("abcdefgh"))
    method = Hyperdecoders(
        encoder=encoder,
        decoder=decoder,
        encoder_bottleneck=sizes[0],
        decoder_bottleneck=sizes[1],
        hidden=sizes[2],
        **fields,
    )
    full = model.ModelConfig(backbone=config.t5_1_1(size), method=method)
    shapes = model.abstract_parameters(full).shapes
    assert count(shapes["hypernetwork"]) == expected


def test_adapters_of_each_task_count_once_for_each():
    one, all_ = (
        count(model.abstract_parameters(tiny(mode, "none")).shapes["hypernetwork"])
        for mode in ("manual", "manual_specific")
    )
    assert all_ == len(TASKS) * one
    assert one == TINY.num_encoder_layers * (2 * 32 * 6 + 6 + 32)


def test_parameter_names_of_what_is_generated():
    def names(full, half):
        shapes = model.abstract_parameters(full).shapes["hypernetwork"][half]
        return set(flatten_dict(shapes["decoder"], sep="/"))

    layers = ["hidden_layer", "down", "up", "down_bias", "up_bias"]
    generator = {
        "generator/layer_embedding",
        *(f"generator/{name}/{x}" for name in layers for x in ("kernel", "bias")),
    }
    mlp = {f"mlp_{name}/{x}" for name in ("wi", "wo") for x in ("kernel", "bias")}
    assert names(tiny(), "instance") == generator | mlp
    assert names(tiny(pooled_mlp=False), "instance") == generator
    task = names(tiny("none", "task"), "generator")
    assert task == generator | {"table"}


@pytest.mark.usefixtures("mesh")
def test_start_of_the_generator():
    full = tiny()
    own = initial_params(full)["hypernetwork"]["instance"]["decoder"]
    generator = own["generator"]
    hidden, embed, size = 8, 32, BOTTLENECKS["decoder"]
    bounds = {
        "down": 1e-3 * (3 / (hidden * embed)) ** 0.5,
        "up": 1e-3 * (3 / (hidden * size)) ** 0.5,
        "down_bias": 1e-3 * (3 / hidden) ** 0.5,
        "up_bias": 1e-3 * (3 / hidden) ** 0.5,
    }
    for name, bound in bounds.items():
        assert not np.any(generator[name]["bias"])
        largest = np.abs(generator[name]["kernel"]).max()
        assert 0.8 * bound < largest <= bound
    for layer, inputs in (
        (generator["hidden_layer"], embed + 10),
        (own["mlp_wi"], embed),
        (own["mlp_wo"], embed),
    ):
        for leaf in layer.values():
            assert 0.5 * inputs**-0.5 < np.abs(leaf).max() <= inputs**-0.5


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ("manual", "generated"),
        ("task", "none"),
        ("manual_specific", "task"),
        ("generated", "manual_specific"),
    ],
)
def test_starts_as_plain_t5(encoder, decoder):
    full = tiny(encoder, decoder)
    batch, params = batch_for(full, rows=2), initial_params(full)
    inputs = {k: v for k, v in batch.items() if k != "condition_tokens"}
    plain = {k: v for k, v in params.items() if k != "hypernetwork"}
    bare = jax.jit(model.HyperModel(TINY, None).apply)({"params": plain}, inputs)
    difference = np.abs(logits_of(full, params, batch) - bare).max()
    assert 0 < difference < 1e-3 * np.abs(bare).max()


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize(("encoder", "decoder"), GRID)
def test_every_cell_of_the_grid_has_its_logits(encoder, decoder):
    full = tiny(encoder, decoder)
    params = model.abstract_parameters(full).shapes
    batch = batch_for(full, groups=2, rows=2)
    logits = jax.eval_shape(full.build().apply, {"params": params}, batch)
    assert logits.shape == (*batch["decoder_input_tokens"].shape, TINY.vocab_size)


def greedy(module, params, inputs, state, length):
    """Tokens ``[G, R, T]`` and log-probabilities ``[G, R]``."""
    requests = Requests.of(Greedy(), length).full(*inputs.shape[:2])
    weights = steps.weights_of(module.config, params)
    arguments = (weights, inputs, state, requests, Greedy().shape(length))
    tokens, scores = loop.generate(module, params, *arguments)
    return tokens[:, :, 0], scores[:, :, 0]


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize(
    ("encoder", "decoder"), [("task", "generated"), ("generated", "manual_specific")]
)
def test_decoding_a_mixed_grid_equals_teacher_forcing(encoder, decoder):
    full = tiny(encoder, decoder)
    params, batch, module = moved(full), batch_for(full, 2, rows=2), full.build()

    @jax.jit
    def decode(params):
        variables = {"params": params}
        condition, inputs = batch["condition_tokens"], batch["encoder_tokens"]
        state = module.apply(variables, condition, method="adapt")
        return greedy(module, params, inputs, state, 4)

    tokens, scores = decode(params)
    shifted = jnp.pad(tokens[..., :-1], ((0, 0), (0, 0), (1, 0)))
    logits = logits_of(full, params, batch | {"decoder_input_tokens": shifted})
    table = jax.nn.log_softmax(logits)
    ended = np.cumsum(np.asarray(tokens) == EOS, axis=-1)
    alive = np.pad(ended[..., :-1], ((0, 0), (0, 0), (1, 0))) == 0
    np.testing.assert_array_equal(tokens[alive], table.argmax(-1)[alive])
    expected = np.where(alive, table.max(-1), 0.0).sum(-1)
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def check(adapter: Adapter, expected):
    for name, array in expected.items():
        found = getattr(adapter, name)
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("pooled_mlp", [True, False])
def test_every_row_has_the_weights_of_the_formula(pooled_mlp):
    """Whatever the other rows are, and the padding."""
    full = tiny(pooled_mlp=pooled_mlp)
    params, batch = moved(full), batch_for(full, groups=2, rows=2)
    own = params["hypernetwork"]["instance"]["decoder"]
    codes = [code_of(own, h) for h in encoded_alone(full, params, batch)]
    adapter = decoder_weights(full, params, batch).mlp.adapter
    check(adapter, written(own["generator"], codes))
    assert adapter.activation == "relu"
    rows = np.asarray(adapter.up).swapaxes(0, 1)
    for one, other in itertools.combinations(rows, 2):
        assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.usefixtures("mesh")
def test_tasks_have_the_weights_of_the_formula():
    full = tiny("task", "task")
    params = moved(full)
    module, tokens = full.build(), jnp.arange(3)[:, None]
    adapt = jax.jit(lambda p: module.apply({"params": p}, tokens, method="adapt"))
    state = adapt(params)
    for stack in ("encoder", "decoder"):
        own = params["hypernetwork"]["generator"][stack]
        codes = np.asarray(own["table"], np.float64)
        check(getattr(state, stack).mlp.adapter, written(own["generator"], codes))


@pytest.mark.usefixtures("mesh")
def test_a_generated_encoder_reads_its_input_twice():
    """Adapters written from the first pass are all that adapts the second."""
    full = tiny("generated", "manual")
    params, batch = moved(full), batch_for(full, groups=3)
    own = params["hypernetwork"]["instance"]["encoder"]
    codes = [code_of(own, h) for h in encoded_alone(full, params, batch)]
    arrays = written(own["generator"], codes)
    adapter = Adapter(
        **{name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()},
        activation="relu",
        placement="residual",
    )
    encoder = Emission.precomputed(LayerAdaptation(mlp=SiteParts(adapter=adapter)))
    module, backbone = full.build(), model.HyperModel(TINY, None)

    @jax.jit
    def by_hand(params, plain):
        conditioning = conditioned(module, params, batch).replace(encoder=encoder)
        return backbone.apply({"params": plain}, batch, conditioning, method="forward")

    plain = {k: v for k, v in params.items() if k != "hypernetwork"}
    np.testing.assert_allclose(
        logits_of(full, params, batch), by_hand(params, plain), atol=1e-4
    )


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("normalized", [True, False])
def test_adapters_read_the_residual_stream_unless_told_otherwise(normalized):
    full = tiny(normalized_input=normalized)
    params, batch = moved(full), batch_for(full)
    encoder = conditioned(full.build(), params, batch).encoder.materialize()
    decoder = decoder_weights(full, params, batch)
    expected = "parallel" if normalized else "residual"
    assert encoder.mlp.adapter.placement == decoder.mlp.adapter.placement == expected
    assert encoder.mlp.adapter.activation == "relu"


@pytest.mark.usefixtures("mesh")
def test_decoding_generates_before_its_loop():
    full = tiny()
    params, tokens = moved(full), batch_for(full)["encoder_tokens"]
    module = full.build()

    def decode(params):
        state = module.apply({"params": params}, None, method="adapt")
        return greedy(module, params, tokens, state, 3)

    program = jax.make_jaxpr(decode)(params).jaxpr
    head = (8, BOTTLENECKS["decoder"] * TINY.embed_dim)
    assert head in _shapes(program)
    (loop,) = (e for e in _operations(program) if e.primitive.name == "while")
    assert head not in _shapes(loop.params["body_jaxpr"].jaxpr)


def _operations(program):
    for operation in program.eqns:
        yield operation
        for value in operation.params.values():
            for item in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    yield from _operations(inner)


def _shapes(program) -> set[tuple[int, ...]]:
    """Shapes of everything that some operation of a program reads."""
    return {v.aval.shape for e in _operations(program) for v in e.invars}


def test_the_mean_is_of_tokens_alone_in_float32():
    hidden = jnp.array([[[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]], [[[5.0, 5.0]] * 3]])
    mask = jnp.array([[[True, True, False]], [[False] * 3]])
    pooled = mean_pooled(Encoded(hidden.astype(jnp.bfloat16), mask))
    assert pooled.dtype == jnp.float32
    np.testing.assert_array_equal(pooled, [[2.0, 4.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(decoder="shared"), "expected decoder to be one of"),
        (dict(encoder="none", decoder="none"), "expected an adapted encoder"),
        (dict(reads="condition"), "expected reads to be one of"),
        (dict(decoder="task", tasks=TASKS), r"one of \('task',\), got 'prompt'"),
        (dict(reads="task", tasks=TASKS), "one of .*, got 'task'"),
        (dict(decoder="task", reads="task"), "expected the names of the tasks"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Hyperdecoders(**fields)
