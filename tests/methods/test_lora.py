"""LoRA: counts, also of PEFT; the start; the formula; a set for every task."""

import jax
import numpy as np
import pytest
from conftest import TINY, initial_params
from tables_reference import (
    TASKS,
    batch_of,
    count,
    generator_of,
    logits_of,
    moved,
    plain_logits,
    rows_are_shared_models,
    starts_as_plain_t5,
    tiny,
)

from hyperx import config, model
from hyperx.methods.lora import Lora

ALL = ("query", "key", "value", "out", "wi", "wo")


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_counts(size):
    backbone = config.t5_1_1(size)
    attentions = backbone.num_encoder_layers + 2 * backbone.num_decoder_layers
    mlps = backbone.num_encoder_layers + backbone.num_decoder_layers
    embed, joined = backbone.embed_dim, backbone.joined_heads
    updates = 2 * 8 * (embed + joined)
    assert count(Lora(rank=8), backbone) == attentions * updates
    every = attentions * 2 * updates + mlps * 3 * 8 * (embed + backbone.mlp_dim)
    assert count(Lora(rank=8, projections=ALL), backbone) == every
    of_tasks = Lora(rank=8, reads="task", tasks=TASKS)
    assert count(of_tasks, backbone) == 3 * attentions * updates


@pytest.mark.parametrize(
    ("projections", "names"),
    [
        (("query", "value"), ["q", "v"]),
        (ALL, ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]),
        (("wi_1",), ["wi_1"]),
    ],
)
def test_counts_are_those_of_peft(projections, names):
    peft = pytest.importorskip("peft")
    from peft_models import tiny_t5, trained

    theirs = peft.LoraConfig(r=3, target_modules=names)
    ours = Lora(rank=3, projections=projections)
    assert count(ours, TINY) == trained(peft.get_peft_model(tiny_t5(TINY), theirs))


@pytest.mark.usefixtures("mesh")
class TestUpdates:
    def test_starts_as_plain_t5(self):
        starts_as_plain_t5(Lora(projections=ALL))

    def test_first_factors_are_kaiming_uniform(self):
        generator = generator_of(initial_params(tiny(Lora(rank=16, projections=ALL))))
        widths = {"out": 48, "wo": 48}
        for stack in generator.values():
            for name, array in stack.items():
                if name.endswith("_a"):
                    kernel = name.removesuffix("_a").rpartition("attention_")[2]
                    bound = widths.get(kernel.removeprefix("mlp_"), 32) ** -0.5
                    assert 0.9 * bound < np.abs(array).max() <= bound, name
                    assert array.std() == pytest.approx(bound / 3**0.5, rel=0.1)
                else:
                    assert not np.any(array)

    def test_logits_are_those_of_updated_kernels(self):
        """Written out for the queries of the encoder."""
        full, batch = tiny(Lora(rank=2, alpha=6.0, projections=("query",))), batch_of()
        params = moved(initial_params(full))
        generator = jax.tree.map(np.zeros_like, generator_of(params))
        own = generator_of(params)["encoder"]
        generator["encoder"] = own
        params = params | {"hypernetwork": {"generator": generator}}
        a, b = (np.asarray(own[f"self_attention_query_{x}"]) for x in "ab")
        updated = jax.tree.map(np.array, params)
        kernel = updated["encoder"]["layers"]["attention"]["query"]["kernel"]
        for layer in range(2):
            kernel[layer] += 3.0 * a[layer].T @ b[layer]
        expected = plain_logits(updated, batch)
        np.testing.assert_allclose(logits_of(full, params, batch), expected, atol=1e-5)
        assert not np.allclose(plain_logits(params, batch), expected)

    def test_a_task_is_a_shared_model_with_its_rows(self):
        fields = dict(rank=2, projections=ALL)
        rows_are_shared_models(
            Lora(reads="task", tasks=TASKS, **fields), Lora(**fields)
        )


def test_parameter_names():
    full = tiny(Lora(projections=("key", "wi_0")))
    shapes = generator_of(model.abstract_parameters(full).shapes)
    assert set(shapes["encoder"]) == {
        f"{name}_{x}" for name in ("self_attention_key", "mlp_wi_0") for x in "ab"
    }
    assert set(shapes["decoder"]) - set(shapes["encoder"]) == {
        "cross_attention_key_a",
        "cross_attention_key_b",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(projections=("q",)), r"expected projections among .*, got \('q',\)"),
        (dict(projections=()), "expected projections among"),
        (dict(rank=0), "expected a rank of at least 1, got 0"),
        (dict(reads="condition"), "expected reads to be one of .*'condition'"),
        (dict(reads="task"), "expected the names of the tasks"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Lora(**fields)


def test_a_kernel_that_the_backbone_lacks_is_refused():
    plain = config.t5_1_0("tiny")
    assert count(Lora(projections=("wi",)), plain) == 4 * 8 * (64 + 128)
    with pytest.raises(ValueError, match=r"among \('wi',\), .*, got \['wi_0'\]"):
        count(Lora(projections=("wi_0",)), plain)
