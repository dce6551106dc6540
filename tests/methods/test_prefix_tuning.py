"""Prefix tuning: counts, and that a network is only another way to hold prefixes."""

import jax
import numpy as np
import pytest
from conftest import initial_params
from tables_reference import (
    TASKS,
    batch_of,
    count,
    generator_of,
    logits_of,
    moved,
    rows_are_shared_models,
    tiny,
)

from hyperx import config, model, sharding
from hyperx.methods.prefix_tuning import PrefixTuning

ATTENTIONS = {"encoder": 1, "decoder": 2}


@pytest.mark.parametrize("size", ["small", "large"])
def test_counts(size):
    backbone = config.t5_1_1(size, num_decoder_layers=5)
    embed, joined = backbone.embed_dim, backbone.joined_heads
    attentions = backbone.num_encoder_layers + 2 * 5
    direct = attentions * 2 * 10 * joined
    assert count(PrefixTuning(hidden=None), backbone) == direct
    of_tasks = PrefixTuning(hidden=None, reads="task", tasks=TASKS)
    assert count(of_tasks, backbone) == 3 * direct
    network = 2 * embed * 512 + attentions * 2 * 512 * joined
    assert count(PrefixTuning(), backbone) == network + 2 * 10 * embed
    of_tasks = PrefixTuning(reads="task", tasks=TASKS)
    assert count(of_tasks, backbone) == network + 3 * 2 * 10 * embed


@pytest.mark.parametrize("hidden", [8, None])
def test_parameters_can_be_sharded(hidden):
    full = tiny(PrefixTuning(length=2, hidden=hidden))
    axes = model.abstract_parameters(full).axes
    sharding.tree_shardings(axes, sharding.make_mesh(4, model=2))


@pytest.mark.usefixtures("mesh")
class TestPrefixes:
    def test_a_table_of_what_the_network_writes_has_its_logits(self):
        full, batch = tiny(PrefixTuning(length=3, hidden=8)), batch_of()
        params = moved(initial_params(full))
        tables = {}
        for stack, own in generator_of(params).items():
            own = jax.tree.map(np.asarray, own)
            hidden = np.tanh(own["embedding"] @ own["wi"])
            tables[stack] = {
                name.replace("_key", "_prefix_key").replace("_value", "_prefix_value"):
                np.stack([hidden @ kernel for kernel in kernels])
                for name, kernels in own.items()
                if name not in ("embedding", "wi")
            }  # fmt: skip
            assert len(tables[stack]) == 2 * ATTENTIONS[stack]
        held = params | {"hypernetwork": {"generator": tables}}
        direct = tiny(PrefixTuning(length=3, hidden=None))
        expected = logits_of(full, params, batch)
        np.testing.assert_allclose(
            logits_of(direct, held, batch), expected, atol=1e-5, rtol=1e-5
        )
        silent = jax.tree.map(np.zeros_like, tables)
        silent = params | {"hypernetwork": {"generator": silent}}
        assert not np.allclose(logits_of(direct, silent, batch), expected, 0.1)

    @pytest.mark.parametrize("hidden", [8, None])
    def test_a_task_is_a_shared_model_with_its_rows(self, hidden):
        fields = dict(length=2, hidden=hidden)
        rows_are_shared_models(
            PrefixTuning(reads="task", tasks=TASKS, **fields), PrefixTuning(**fields)
        )

    def test_the_order_of_a_prefix_means_nothing(self):
        full, batch = tiny(PrefixTuning(length=3, hidden=None)), batch_of()
        params = moved(initial_params(full))
        turned = jax.tree.map(lambda x: np.roll(x, 1, axis=1), params["hypernetwork"])
        np.testing.assert_allclose(
            logits_of(full, params | {"hypernetwork": turned}, batch),
            logits_of(full, params, batch),
            atol=1e-5,
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
        PrefixTuning(**fields)
