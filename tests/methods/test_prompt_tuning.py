"""Prompt tuning: counts, the start, and that a prompt is read as tokens are."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params
from tables_reference import (
    TASKS,
    batch_of,
    count,
    generator_of,
    logits_of,
    plain_logits,
    rows_are_shared_models,
    tiny,
)

from hyperx import config
from hyperx.methods.prompt_tuning import PromptTuning


def test_counts():
    base = config.t5_1_1("base")
    assert count(PromptTuning(), base) == 76_800
    assert count(PromptTuning(), config.t5_1_1("xxl")) == 409_600
    assert count(PromptTuning(reads="task", tasks=TASKS), base) == 3 * 76_800


def test_counts_are_those_of_peft():
    peft = pytest.importorskip("peft")
    from peft_models import tiny_t5, trained

    theirs = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5, num_transformer_submodules=1
    )
    expected = trained(peft.get_peft_model(tiny_t5(TINY), theirs))
    assert count(PromptTuning(length=5), TINY) == expected == 5 * 32


@pytest.mark.usefixtures("mesh")
class TestPrompts:
    def test_starts_uniform(self):
        prompt = generator_of(initial_params(tiny(PromptTuning())))["prompt"]
        assert 0.49 < np.abs(prompt).max() <= 0.5
        assert prompt.std() == pytest.approx(0.5 / 3**0.5, rel=0.05)

    def test_a_prompt_of_token_embeddings_is_read_as_these_tokens(self):
        full, batch = tiny(PromptTuning(length=3)), batch_of()
        params, tokens = initial_params(full), jnp.array([7, 11, 13])
        prompt = params["token_embedder"]["embedding"][tokens]
        params = params | {"hypernetwork": {"generator": {"prompt": prompt}}}
        inputs = batch["encoder_tokens"]
        front = jnp.broadcast_to(tokens, (*inputs.shape[:2], 3))
        longer = batch | {"encoder_tokens": jnp.concatenate([front, inputs], axis=2)}
        expected = plain_logits(params, longer)
        np.testing.assert_allclose(
            logits_of(full, params, batch), expected, atol=1e-5, rtol=1e-5
        )
        assert not np.allclose(plain_logits(params, batch), expected, 0.1)

    def test_a_task_is_a_shared_model_with_its_rows(self):
        rows_are_shared_models(
            PromptTuning(length=3, reads="task", tasks=TASKS), PromptTuning(length=3)
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(length=0), "expected a length of at least 1, got 0"),
        (dict(reads="condition"), "expected reads to be one of"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PromptTuning(**fields)
