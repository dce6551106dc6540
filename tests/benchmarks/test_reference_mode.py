"""Reference mode gives the outputs of hyperx with a kept state."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from conftest import TINY, initial_params, tiny_hint

from benchmarks.kept_state import reference_mode
from hyperx.inference.decoding import Beam, Greedy, Requests
from hyperx.inference.predictor import Predictor

LENGTH = 8


def tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(2, TINY.vocab_size, shape, np.int32)


def served(config, params, condition, inputs, strategy):
    """What a predictor writes under one kept state, ``[R, W, T]`` and ``[R, W]``."""
    predictor = Predictor(config, params, None, {})
    shape = strategy.shape(LENGTH)
    requests = Requests.of(strategy, LENGTH)
    kept = predictor.adapt_tokens(condition[None])
    rows = inputs[None]
    out, scores = predictor.generate_rows(
        rows, kept, requests.full(*rows.shape[:2]), shape
    )
    return out[0], scores[0]


def referred(config, params, condition, inputs, strategy):
    """The same of reference mode."""
    shape = strategy.shape(LENGTH)
    rows = len(inputs)
    requests = Requests.of(strategy, LENGTH).full(rows, 1)
    conditions = np.repeat(condition[None], rows, 0)
    generate = jax.jit(reference_mode.generate, static_argnums=(0, 5))
    out, scores = generate(
        config.build(), params, conditions, inputs[:, None], requests, shape
    )
    return out[:, 0], scores[:, 0]


CASES = [(Greedy(), {}), (Beam(3), {}), (Beam(4, 0.0), {"fusion": False})]


@pytest.mark.parametrize(("strategy", "fields"), CASES)
def test_reference_mode_gives_what_a_kept_state_gives(mesh, strategy, fields):
    config = tiny_hint(**fields)
    params = initial_params(config)
    # A bucket and less than one: the rest of it is padding.
    condition, inputs = tokens(8), tokens(3, 8, seed=1)
    condition[5:] = 0
    inputs[0, 6:] = 0
    arguments = (config, params, condition, inputs, strategy)
    expected, expected_scores = served(*arguments)
    out, scores = referred(*arguments)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-5)
    assert len(np.unique(out[:, 0], axis=0)) > 1


def test_reference_mode_projects_at_every_step(mesh):
    """The compiler leaves the projections of what does not change in the loop."""
    rows, condition = 2, 40
    backbone = dataclasses.replace(TINY, num_encoder_layers=1, num_decoder_layers=1)
    config = tiny_hint(backbone)
    generate = jax.jit(reference_mode.generate, static_argnums=(0, 5))
    requests = Requests.of(Greedy(), LENGTH).full(rows, 1)
    lowered = generate.lower(
        config.build(),
        initial_params(config),
        tokens(rows, condition),
        tokens(rows, 1, 8),
        requests,
        Greedy().shape(LENGTH),
    )
    logits = f" f32[{rows},{backbone.vocab_size}]"
    projected = f" f32[{rows * condition},{backbone.joined_heads}]"
    (steps,) = (loop for loop in loops(lowered.compile().as_text()) if logits in loop)
    assert steps.count(projected) == 2  # keys and values


def loops(program):
    """Of every loop that a program runs, the results of products within it."""
    block = re.compile(r"^(?:ENTRY )?%(?P<name>\S+) \(.*?^}", re.MULTILINE | re.DOTALL)
    computations = {found["name"]: found[0] for found in block.finditer(program)}

    def within(name):
        own = computations[name]
        called = re.findall(r"(?:calls|body|to_apply)=%([^\s,)]+)", own)
        products = re.findall(r" = (\S+?)\{\S* dot\(", own)
        return "".join(f" {shape}" for shape in products) + "".join(map(within, called))

    (entry,) = re.findall(r"^ENTRY %(\S+)", program, re.MULTILINE)
    bodies = re.findall(r"body=%([^\s,)]+)", computations[entry])
    return [within(name) for name in bodies]
