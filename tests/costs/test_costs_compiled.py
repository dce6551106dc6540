"""Formulas of costs against what the compiler counts, of programs without loops.

The compiler counts the body of a loop once, so models have one layer here; and it also
counts normalisations, activations and softmax, so they are wide.
"""

import jax
import jax.numpy as jnp
import pytest

from hyperx import config, model, sharding
from hyperx.costs import alternatives
from hyperx.costs.stages import Use
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods.hint import Hint
from hyperx.methods.lora import Lora
from hyperx.methods.plain import Plain

SIZES = dict(
    vocab_size=512,
    embed_dim=384,
    num_heads=4,
    head_dim=64,
    mlp_dim=1024,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
USE = Use(condition=48, inputs=64, targets=32)
METHODS = {
    "plain": Plain(reads="inputs"),
    "hint": Hint(bottleneck=32, prefix_length=8),
    "lora": Lora(rank=16, reads="inputs"),
}


def compiled_flops(fn, *arguments):
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        return jax.jit(fn).lower(*arguments).compile().cost_analysis()["flops"]


def integers(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.int32)


class Compiled:
    """A model of one layer, and its formulas."""

    def __init__(self, method, **fields):
        backbone = config.t5_1_1("tiny", **(SIZES | fields))
        self.config = model.ModelConfig(backbone=backbone, method=METHODS[method])
        self.module = self.config.build()
        self.params = model.abstract_parameters(self.config).shapes
        self.state = model.abstract_state(self.config, USE.condition)
        self.kept = alternatives.of_model(self.config, USE)["kept state"]

    def apply(self, params, *arguments, method):
        return self.module.apply({"params": params}, *arguments, method=method)


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    return Compiled(request.param)


def test_examples(case):
    batch = {
        "encoder_tokens": integers(1, 1, USE.inputs),
        "decoder_input_tokens": integers(1, 1, USE.targets),
    }

    def forward(params, batch, state):
        given = Conditioning.of(state)
        return case.apply(params, batch, given, method="forward")

    counted = compiled_flops(forward, case.params, batch, case.state)
    assert case.kept.flops_each == pytest.approx(counted, rel=0.01)


def test_encoding_and_projecting_an_input(case):
    def start(params, tokens, state):
        given = Conditioning.of(state)
        return case.apply(params, tokens, given, method="start")[0]

    tokens = integers(1, 1, USE.inputs)
    counted = compiled_flops(start, case.params, tokens, case.state)
    stages = [case.kept.each[k].work.flops for k in ("encode input", "project input")]
    assert sum(stages) == pytest.approx(counted, rel=0.01)


def test_reading_a_condition_and_generating():
    hint = Compiled("hint")

    def adapt(params, tokens):
        return hint.apply(params, tokens, method="adapt")

    counted = compiled_flops(adapt, hint.params, integers(1, USE.condition))
    assert hint.kept.flops_once == pytest.approx(counted, rel=0.01)


def test_loops_are_counted_once_by_the_compiler():
    """Why models have one layer here."""
    one, two = (
        Compiled("plain", num_encoder_layers=n, num_decoder_layers=n) for n in (2, 4)
    )
    batch = {
        "encoder_tokens": integers(1, 1, USE.inputs),
        "decoder_input_tokens": integers(1, 1, USE.targets),
    }
    counted = [
        compiled_flops(
            lambda params, batch, case=case: case.module.apply(
                {"params": params}, batch
            ),
            case.params,
            batch,
        )
        for case in (one, two)
    ]
    assert counted[0] == pytest.approx(counted[1], rel=0.01)
    assert two.kept.flops_each > 1.8 * one.kept.flops_each
