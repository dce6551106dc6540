"""Decoding of plain T5 in hyperx and in transformers: greedy, and with four beams.

Encoding is part of it. Outputs of both are compared: tokens have to be the same.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.against_transformers.pair import (
    OURS,
    QUICK_SIZE,
    SIZE,
    THEIRS,
    Pair,
    Part,
    Side,
    Size,
)
from benchmarks.kept_state.ways import programs
from benchmarks.random_models import random_tokens

GOAL = 1.0


def greedy(pair: Pair) -> Part:
    """The likeliest token at every position."""
    return _part(pair, "greedy decoding", beams=1)


def beam(pair: Pair) -> Part:
    """Beam search, four hypotheses of every row."""
    return _part(pair, "beam-4 decoding", beams=4)


def _part(pair: Pair, name: str, beams: int) -> Part:
    size = QUICK_SIZE if pair.quick else SIZE
    inputs = random_tokens(pair.config, size.rows, size.inputs, seed=0)
    return Part(
        name=name,
        sizes=f"batch {size.rows}, {size.inputs} to {size.targets} tokens",
        sides={
            OURS: Side(_ours(pair, inputs, size, beams)),
            THEIRS: Side(_theirs(pair, inputs, size, beams)),
        },
        same=np.array_equal,
        goal=GOAL,
    )


def _ours(
    pair: Pair, inputs: np.ndarray, size: Size, beams: int
) -> Callable[[], np.ndarray]:
    adapt, generate = programs(pair.config, pair.params, beams, size.targets)
    nothing = adapt(None)
    return lambda: np.asarray(generate(inputs, nothing, size.targets))[:, 0]


def _theirs(
    pair: Pair, inputs: np.ndarray, size: Size, beams: int
) -> Callable[[], np.ndarray]:
    model = pair.theirs().eval()
    input_ids = torch.tensor(inputs).long()
    mask = torch.ones_like(input_ids)

    @torch.inference_mode()
    def run() -> np.ndarray:
        tokens = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            do_sample=False,
            num_beams=beams,
            max_new_tokens=size.targets,
        )
        return tokens[:, 1:].numpy()  # The first one only starts the decoder.

    return run
