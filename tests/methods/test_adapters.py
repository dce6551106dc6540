"""Adapters: counts, how they start, what trains, and a set for every task."""

import jax
import numpy as np
import pytest
from conftest import initial_params
from flax.traverse_util import flatten_dict
from tables_reference import (
    TASKS,
    count,
    generator_of,
    rows_are_shared_models,
    starts_as_plain_t5,
    tiny,
)

from hyperx import config, model
from hyperx.data import startup
from hyperx.methods.adapters import Adapters
from hyperx.methods.hyperdecoders import Hyperdecoders
from hyperx.optim import freezing
from hyperx.runs import configuration

SITES = ("self_attention", "cross_attention", "mlp")


def adapter(embed: int, size: int) -> int:
    """Two kernels and two biases."""
    return 2 * embed * size + size + embed


@pytest.mark.parametrize(("size", "embed", "layers"), [("base", 768, 12)])
def test_counts(size, embed, layers):
    backbone = config.t5_1_1(size)
    one = adapter(embed, 64)
    assert count(Adapters(), backbone) == 4 * layers * one
    assert count(Adapters(sites=SITES), backbone) == 5 * layers * one
    assert count(Adapters(sites=("mlp",)), backbone) == 2 * layers * one
    normalized = Adapters(normalized=True, initial="normal")
    assert count(normalized, backbone) == 4 * layers * (one + 2 * embed)
    of_tasks = Adapters(reads="task", tasks=TASKS)
    assert count(of_tasks, backbone) == 3 * 4 * layers * one


@pytest.mark.parametrize(
    ("size", "bottleneck", "percent"), [("base", 24, 0.865), ("small", 16, 0.739)]
)
def test_shares_are_those_of_hyperformers_baseline(size, bottleneck, percent):
    """One task, with the norms of T5 v1.0, as its published code counts."""
    backbone = config.t5_1_0(size)
    method = Adapters(bottleneck=bottleneck, normalized=True, initial="normal")
    full = model.ModelConfig(backbone=backbone, method=method)
    flat = flatten_dict(model.abstract_parameters(full).shapes, sep="/")
    own = {k: v.size for k, v in flat.items() if k.startswith("hypernetwork/")}
    rest = {k: v.size for k, v in flat.items() if k not in own}
    norms = sum(size for name, size in rest.items() if name.endswith("/scale"))
    trained = sum(own.values()) + norms
    assert round(100 * trained / sum(rest.values()), 3) == percent


@pytest.mark.usefixtures("mesh")
class TestStart:
    @pytest.mark.parametrize("placement", ["sequential", "parallel"])
    def test_starts_as_plain_t5(self, placement):
        starts_as_plain_t5(Adapters(bottleneck=4, sites=SITES, placement=placement))

    def test_as_published_all_kernels_are_small(self):
        method = Adapters(bottleneck=32, normalized=True, initial="normal")
        for stack in generator_of(initial_params(tiny(method))).values():
            for name, array in stack.items():
                if name.endswith(("_down", "_up")):
                    assert array.std() == pytest.approx(0.01, rel=0.1), name
                else:
                    assert np.all(array == float(name.endswith("norm_scale"))), name

    def test_hyperdecoders_manual_adapters_are_xavier_uniform(self):
        """Of a ten-thousandth of the usual size."""
        method = Hyperdecoders(decoder="none", encoder_bottleneck=16)
        (own,) = generator_of(initial_params(tiny(method))).values()
        bound = 1e-4 * (6 / (32 + 16)) ** 0.5
        for name, array in own.items():
            largest = np.abs(array).max()
            assert largest == 0 if name.endswith("bias") else 0.9 < largest / bound <= 1


@pytest.mark.usefixtures("mesh")
def test_a_task_is_a_shared_model_with_its_rows():
    fields = dict(bottleneck=4, normalized=True, initial="normal")
    rows_are_shared_models(
        Adapters(reads="task", tasks=TASKS, **fields), Adapters(**fields)
    )


@pytest.mark.parametrize("name", ["adapters", "adapters_per_task"])
def test_what_the_gin_files_train(name):
    startup.prepare_tensorflow()
    configuration.parse(["runs/toyworld.gin", f"methods/{name}.gin"], ["MODEL_DIR='o'"])
    method = configuration.macro("METHOD")
    full = tiny(method)
    assert bool(method.tasks) == (name == "adapters_per_task")
    shapes = model.abstract_parameters(full).shapes
    trained, _ = freezing.split(shapes, configuration.macro("FROZEN"))
    assert trained["hypernetwork"] == shapes["hypernetwork"]
    rest = {k: v for k, v in trained.items() if k != "hypernetwork"}
    names = flatten_dict(rest, sep="/")
    assert {name.rsplit("/", 1)[1] for name in names} == {"scale"}
    # Two of a layer of the encoder, three of the decoder, one behind each stack.
    sizes = [leaf.size // 32 for leaf in jax.tree.leaves(rest)]
    assert sum(sizes) == 2 * 2 + 3 * 3 + 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(bottleneck=0), "expected a bottleneck of at least 1, got 0"),
        (dict(sites=("ffn",)), r"expected sites among .*, got \('ffn',\)"),
        (dict(sites=()), "expected sites among"),
        (dict(initial="zero"), "expected initial to be one of .*'zero_up'.*'zero'"),
        (dict(normalized=True), r"one of \('normal',\), got 'zero_up'"),
        (dict(reads="condition"), "expected reads to be one of"),
        (dict(reads="task"), "expected the names of the tasks"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Adapters(**fields)
