"""A training step of plain T5 in hyperx and in transformers.

Loss, gradient, and Adafactor, which T5 is trained with and which both libraries have:
relative to the size of parameters, without momentum, with the same learning rate. Ours
is the step of `hyperx train`, metrics included.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from benchmarks.against_transformers.pair import (
    OURS,
    QUICK_SIZE,
    SIZE,
    THEIRS,
    Pair,
    Part,
    Side,
)
from benchmarks.random_models import random_tokens
from hyperx import sharding
from hyperx.optim.optimizers import Adafactor
from hyperx.runs import step as step_lib
from hyperx.runs.state import Recipe, TrainState

GOAL = 0.9
LEARNING_RATE = 1e-3
# How much losses of the same step may differ, relatively: float32, sums in any order.
CLOSE = 1e-4


def part(pair: Pair) -> Part:
    """The step on one batch, over and over."""
    size = QUICK_SIZE if pair.quick else SIZE
    inputs = random_tokens(pair.config, size.rows, size.inputs, seed=0)
    targets = random_tokens(pair.config, size.rows, size.targets, seed=1)
    return Part(
        name="training step",
        sizes=f"batch {size.rows}, {size.inputs} to {size.targets} tokens, Adafactor",
        sides={
            OURS: Side(_ours(pair, inputs, targets)),
            THEIRS: Side(_theirs(pair, inputs, targets)),
        },
        same=lambda ours, theirs: math.isclose(ours, theirs, rel_tol=CLOSE),
        goal=GOAL,
    )


def _ours(pair: Pair, inputs: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    # Theirs factors the moments of all matrices, however small.
    optimizer = Adafactor(learning_rate=LEARNING_RATE, min_dim_size_to_factor=1)
    recipe = Recipe(pair.config, optimizer)
    params = jax.tree.map(jnp.copy, pair.params)  # A step gives up what it updates.
    state = TrainState(
        jnp.zeros((), jnp.int32), params, recipe.transformation.init(params)
    )
    compiled = step_lib.compiled(step_lib.make_step(recipe), state)
    batch, key = _batch(inputs, targets), jax.random.key(0)

    def step() -> float:
        nonlocal state
        with sharding.use(pair.mesh):
            state, metrics = compiled(state, batch, key)
        return float(metrics["loss"])

    return step


def _batch(inputs: np.ndarray, targets: np.ndarray) -> Mapping[str, jax.Array]:
    """Every row is a group of its own."""
    inputs, targets = jnp.asarray(inputs)[:, None], jnp.asarray(targets)[:, None]
    return {
        "encoder_tokens": inputs,
        "decoder_input_tokens": jnp.pad(targets[..., :-1], ((0, 0), (0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": jnp.ones(targets.shape),
    }


def _theirs(pair: Pair, inputs: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    model = pair.theirs().train()
    optimizer = transformers.Adafactor(
        model.parameters(),
        lr=LEARNING_RATE,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )
    input_ids, labels = torch.tensor(inputs).long(), torch.tensor(targets).long()
    batch = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "labels": labels,
    }

    def step() -> float:
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step
