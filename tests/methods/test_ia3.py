"""IA3: counts, also of PEFT; the start; a set for every task."""

import numpy as np
import pytest
from conftest import TINY, initial_params
from tables_reference import (
    TASKS,
    count,
    generator_of,
    rows_are_shared_models,
    starts_as_plain_t5,
    tiny,
)

from hyperx import config, model
from hyperx.methods.ia3 import Ia3


@pytest.mark.parametrize("size", ["small", "large"])
def test_counts(size):
    """Keys and values of each attention, hidden units of each feed-forward layer."""
    backbone = config.t5_1_1(size)
    joined, mlp = backbone.joined_heads, backbone.mlp_dim
    encoder = backbone.num_encoder_layers * (2 * joined + mlp)
    decoder = backbone.num_decoder_layers * (4 * joined + mlp)
    assert count(Ia3(), backbone) == encoder + decoder
    assert count(Ia3(reads="task", tasks=TASKS), backbone) == 3 * (encoder + decoder)


def test_counts_are_those_of_peft():
    peft = pytest.importorskip("peft")
    from peft_models import tiny_t5, trained

    theirs = peft.IA3Config(target_modules=["k", "v", "wo"], feedforward_modules=["wo"])
    assert count(Ia3(), TINY) == trained(peft.get_peft_model(tiny_t5(TINY), theirs))


def test_parameter_names():
    shapes = generator_of(model.abstract_parameters(tiny(Ia3())).shapes)
    own = {f"self_attention_{x}_scale" for x in ("key", "value")} | {"mlp_hidden_scale"}
    other = {f"cross_attention_{x}_scale" for x in ("key", "value")}
    assert set(shapes["encoder"]) == own
    assert set(shapes["decoder"]) == own | other


@pytest.mark.usefixtures("mesh")
def test_starts_as_plain_t5():
    starts_as_plain_t5(Ia3())
    for stack in generator_of(initial_params(tiny(Ia3()))).values():
        for array in stack.values():
            assert np.all(array == 1.0)


@pytest.mark.usefixtures("mesh")
def test_a_task_is_a_shared_model_with_its_rows():
    rows_are_shared_models(Ia3(reads="task", tasks=TASKS), Ia3())
