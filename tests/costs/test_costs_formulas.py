"""Formulas of costs: they count what programs do, and what is published of HINT."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from conftest import TINY, tiny_hint

from hyperx import config, costs, model, sharding
from hyperx.backbone import steps
from hyperx.costs import alternatives, analytic, serving
from hyperx.costs.stages import Alternative, Stage, Use
from hyperx.data import startup
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.generators.queries import QueryGenerator
from hyperx.methods.hint import Hint, Quirks
from hyperx.methods.lora import Lora
from hyperx.methods.plain import Plain
from hyperx.runs import configuration, gin_files

USE = Use(condition=9, inputs=6, targets=5)
OLD = dataclasses.replace(TINY, mlp_activations=("relu",), tie_embeddings=True)
T5 = {"v1.0": OLD, "v1.1": TINY}


@functools.cache
def method_of(file):
    startup.prepare_tensorflow()
    configuration.parse(["runs/toyworld.gin", file], ["MODEL_DIR = 'out'"])
    return configuration.macro("METHOD")


def model_of(method, backbone=TINY):
    return model.ModelConfig(backbone=backbone, method=method)


def flops(stages):
    return sum(stage.work.flops for stage in stages.values())


@pytest.mark.parametrize("file", sorted(gin_files.listing("methods")))
def test_formulas_count_what_programs_do(file):
    """To the last operation, for every method that comes with hyperx."""
    full = model_of(method_of(file))
    kept = alternatives.of_model(full, USE)["kept state"]
    inputs = USE.inputs + (USE.condition if full.method.reads == "prompt" else 0)
    counted = costs.of_model(
        full, condition=USE.condition, inputs=inputs, targets=USE.targets
    )
    assert kept.flops_once == counted.task
    assert kept.flops_each == counted.example
    network = full.method.hypernetwork(full.backbone)
    single = [name for name in kept.each if name.startswith("generate")]
    instances = network is not None and network.instance is not None
    assert bool(single) == instances
    assert all(stage.work.flops > 0 for stage in (kept.once | kept.each).values())


@pytest.mark.parametrize("backbone", T5.values(), ids=T5)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(prefix_length=0),
        dict(fusion=False, head_width=10),
        dict(tied_encoder=False, quirks=Quirks(unused_cross_adapters=True)),
    ],
)
def test_the_query_generator_is_counted_to_the_last_operation(backbone, fields):
    full = tiny_hint(backbone, **fields)
    kept = alternatives.of_model(full, USE)["kept state"]
    counted = costs.of_model(full, condition=9, inputs=6, targets=5)
    assert kept.flops_once == counted.task
    assert kept.flops_each == counted.example


@pytest.mark.parametrize("backbone", T5.values(), ids=T5)
def test_updates_of_all_projections_are_counted(backbone):
    names = ("query", "key", "value", "out", "wi", "wo")
    full = model_of(Lora(rank=3, projections=names, reads="inputs"), backbone)
    kept = alternatives.of_model(full, USE)["kept state"]
    counted = costs.of_model(full, condition=9, inputs=6, targets=5)
    assert kept.flops_each == counted.example
    assert kept.once == {}


@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_a_token_is_a_step(beams):
    """As decoding runs it: T cached steps of all beams."""
    full = tiny_hint()
    use = dataclasses.replace(USE, beams=beams)
    module, params = full.build(), model.abstract_parameters(full).shapes
    state = model.abstract_state(full, USE.condition)
    tokens = jax.ShapeDtypeStruct((1, 1, USE.inputs), jnp.int32)

    def started(params, tokens, state):
        given = Conditioning.of(state)
        inputs, given = module.apply({"params": params}, tokens, given, method="start")
        sources = given.sources(inputs)
        prepared = steps.prepare(TINY, params, given.decoder, sources, use.targets)
        return (
            steps.weights_of(TINY, params),
            jnp.zeros((1, 1, beams), jnp.int32),
            prepared,
            steps.start_caches(TINY, prepared, beams),
            jnp.zeros((), jnp.int32),
        )

    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        arguments = jax.eval_shape(started, params, tokens, state)
        counted = costs.flops(functools.partial(steps.step, TINY), *arguments)
    kept = alternatives.of_model(full, use)["kept state"]
    assert kept.each["decode"].work.flops == use.targets * counted


def published(size):
    """HINT of a published size, with the adapters that its code drops."""
    quirks = Quirks(unused_cross_adapters=True)
    method = Hint(bottleneck=512, prefix_length=30, quirks=quirks)
    return model_of(method, config.t5_1_1(size, dtype="bfloat16"))


# Tera-operations derived by hand of the generator; and of encoding, without scores.
DERIVED = {
    "xl": {128: ("2.7", "0.30"), 512: ("3.0", "1.19"), 1024: ("3.3", "2.37")},
    "xxl": {128: ("10.7", "1.2"), 512: ("11.2", "4.7"), 1024: ("11.9", "9.5")},
}


@pytest.mark.parametrize("size", DERIVED)
def test_operations_of_published_hint(size):
    full = published(size)
    generator = full.method.hypernetwork(full.backbone).generator
    assert isinstance(generator, QueryGenerator)
    for length, (generate, encode) in DERIVED[size].items():
        found = analytic.query_generator(generator.config, length)
        assert _as_precise(found.flops, generate) == generate
        found = analytic.encoder(full.backbone, length)
        assert _as_precise(found.weights, encode) == encode


def _as_precise(value, figure):
    return f"{value / 1e12:.{len(figure.partition('.')[2])}f}"


@pytest.mark.parametrize(("length", "examples"), [(128, 10), (512, 4), (1024, 3)])
def test_published_break_even_of_hint(length, examples):
    use = Use(condition=length, inputs=256, targets=16)
    found = alternatives.of_model(published("xl"), use)
    assert found["kept state"].break_even(found["concatenation"]) == examples


def test_published_sizes_of_hint():
    """Generated numbers that are read: 209 MiB in bfloat16; the memory: 192 MiB."""
    state = model.abstract_state(published("xl"), 1024)
    generated = serving.nbytes((state.encoder, state.decoder)) / 2**20
    assert round(generated) == 209
    assert round((serving.nbytes(state.memory) - 1024) / 2**20) == 192


@pytest.mark.parametrize("make", [config.t5_1_0, config.t5_1_1])
@pytest.mark.parametrize("size", ["tiny", "small", "xl"])
def test_weights_are_those_of_the_model(make, size):
    backbone = make(size)
    shapes = model.abstract_parameters(model_of(Plain(), backbone)).shapes
    counted = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert analytic.Weights.of(backbone).total(backbone) == pytest.approx(
        counted, rel=1e-3
    )


def test_a_plain_model_is_concatenation():
    found = alternatives.of_model(model_of(Plain()), USE)
    kept, other = found["kept state"], found["concatenation"]
    assert kept.once == other.once == {}
    assert kept.each == other.each
    assert kept.break_even(other) == 1


def test_the_reference_projects_at_every_step_of_every_beam():
    use = dataclasses.replace(USE, beams=3)
    found = alternatives.of_model(tiny_hint(), use)
    reference, kept = found["reference mode"], found["kept state"]
    once = kept.once["fuse"].work.flops + kept.each["project input"].work.flops
    projected = reference.each["project at every step"].work.flops
    assert projected == 5 * 3 * once
    per_row = ("encode condition", "generate")
    assert all(reference.each[k].work == kept.once[k].work for k in per_row)
    assert reference.once == {}
    assert reference.task == 0


def test_a_decoder_only_model_by_hand():
    """Two layers of one attention and n + 1 kernels, D = J = 2, F = 3, V = 5."""
    backbone = config.T5Config(
        vocab_size=5,
        embed_dim=2,
        num_heads=1,
        head_dim=2,
        mlp_dim=3,
        num_encoder_layers=1,
        num_decoder_layers=1,
    )
    one, layers = 16 + 18, (34 + 50) / 34
    assert serving.decoder_only_layers(backbone) == pytest.approx(layers)
    found = serving.decoder_only(backbone, Use(condition=7, inputs=4, targets=3))
    once = layers * (2 * 7 * one + 4 * 7 * 7 * 2)
    each = layers * (2 * 7 * one + 4 * (4 * 11 + 3 * 14) * 2) + 2 * 3 * 10
    assert found.flops_once == pytest.approx(once)
    assert found.flops_each == pytest.approx(each)
    assert found.task == pytest.approx(layers * 7 * 2 * 2 * 4)
    assert found.memory(2, 3) == pytest.approx(
        4 * (84 + 20) + 2 * found.task + 3 * layers * 7 * 2 * 2 * 4
    )


def test_rows_share_what_is_read_and_not_what_is_theirs():
    """Of T5 tiny: more rows move less per input, in the limit its keys and values."""
    moved = [
        alternatives.of_model(tiny_hint(), dataclasses.replace(USE, rows=rows))[
            "kept state"
        ].each["decode"]
        for rows in (1, 2, 10**9)
    ]
    assert moved[0].work == moved[2].work
    shared = 2 * (moved[0].moved - moved[1].moved)
    own = 2 * TINY.num_decoder_layers * TINY.joined_heads * 4
    assert moved[2].moved == pytest.approx(5 * own * (6 + 5 + 1))
    assert moved[0].moved == pytest.approx(shared + moved[2].moved)


@pytest.mark.parametrize(
    ("once", "each", "expected"),
    [
        (0, 10, 1),
        (0, 11, None),
        (100, 9, 100),
        (95, 9, 95),
        (9.5, 9, 10),
        (5, 10, None),
    ],
)
def test_break_even(once, each, expected):
    def way(once, each):
        stages = [{"x": Stage(analytic.Work(value))} for value in (once, each)]
        return Alternative(once=stages[0], each=stages[1], parameters=0, task=0, row=0)

    found = way(once, each).break_even(way(0, 10))
    assert found == expected
    if expected:
        for examples, pays in ((expected, True), (expected - 1, False)):
            paid = once + examples * each <= examples * 10
            assert paid == pays or not examples


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="expected at least 1 for targets, got 0"):
        Use(condition=1, inputs=1, targets=0)
