"""Decoding of plain T5 in hyperx and in transformers: greedy, and with four beams.

Encoding is part of it. Outputs of both are compared: tokens have to be the same.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.against_transformers.pair import OURS, THEIRS, Pair, Part, Side
from benchmarks.kept_state.ways import programs
from benchmarks.random_models import random_tokens
from hyperx.costs.stages import Use

GOAL = 1.0
USE = Use(condition=0, inputs=256, targets=64, rows=8)
QUICK_USE = Use(condition=0, inputs=16, targets=8, rows=2)


def greedy(pair: Pair) -> Part:
    """The likeliest token at every position."""
    return _part(pair, "greedy decoding", beams=1)


def beam(pair: Pair) -> Part:
    """Beam search, four hypotheses of every row."""
    return _part(pair, "beam-4 decoding", beams=4)


def _part(pair: Pair, name: str, beams: int) -> Part:
    use = dataclasses.replace(QUICK_USE if pair.quick else USE, beams=beams)
    inputs = random_tokens(pair.config, use.rows, use.inputs, seed=0)
    return Part(
        name=name,
        sizes=f"batch {use.rows}, {use.inputs} to {use.targets} tokens",
        sides={
            OURS: Side(_ours(pair, inputs, use)),
            THEIRS: Side(_theirs(pair, inputs, use)),
        },
        same=np.array_equal,
        goal=GOAL,
    )


def _ours(pair: Pair, inputs: np.ndarray, use: Use) -> Callable[[], np.ndarray]:
    adapt, generate = programs(pair.config, pair.params, use)
    nothing = adapt(None)
    return lambda: np.asarray(generate(inputs, nothing, use.targets))[:, 0]


def _theirs(pair: Pair, inputs: np.ndarray, use: Use) -> Callable[[], np.ndarray]:
    model = pair.theirs().eval()
    input_ids = torch.tensor(inputs).long()
    mask = torch.ones_like(input_ids)

    @torch.inference_mode()
    def run() -> np.ndarray:
        tokens = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            do_sample=False,
            num_beams=use.beams,
            length_penalty=0.6,
            max_new_tokens=use.targets,
        )
        return tokens[:, 1:].numpy()  # The first one only starts the decoder.

    return run
