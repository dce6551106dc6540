"""What the plug-in for t5x does on its own: t5x is not needed here."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, initial_params, random_batch, tiny_hint
from flax.linen import partitioning
from flax.traverse_util import flatten_dict
from row_batches import as_rows

from hyperx import axes, model, sharding
from hyperx.data import vocabularies
from hyperx.inference.predictor import Predictor
from hyperx.methods import hyper_t5, hyperformer, lora, plain
from hyperx.t5x_plugin import factoring
from hyperx.t5x_plugin.feature_converters import RowFeatureConverter
from hyperx.t5x_plugin.rows import Rows

# Of activations only: no parameter has them.
ACTIVATIONS = {axes.GROUPS, axes.ROWS, axes.LENGTH, axes.CONDITION_LENGTH}


def test_a_row_has_the_logits_that_it_has_in_its_group(mesh):
    config, grouped = tiny_hint(), random_batch(groups=2, rows=3)
    params = initial_params(config)
    expected = config.build().apply({"params": params}, grouped)
    logits = Rows(config).logits(params, as_rows(grouped))
    assert jnp.allclose(logits, expected.reshape(logits.shape), atol=1e-4)


def test_greedy_decoding_is_the_predictors(mesh):
    config, grouped = tiny_hint(), random_batch(groups=3, rows=1, seed=3)
    params = jax.tree.map(lambda leaf: 3 * leaf, initial_params(config))
    predictor = Predictor(config, params, None, {}, mesh)
    state = predictor.adapt_tokens(grouped["condition_tokens"])
    expected = predictor.generate_tokens(grouped["encoder_tokens"], state, 5)
    tokens, scores = Rows(config).greedy(params, as_rows(grouped))
    assert len(np.unique(tokens)) > 3
    assert np.array_equal(tokens, expected[0][:, 0])
    assert np.allclose(scores, expected[1][:, 0], rtol=1e-4)


def test_without_a_condition_rows_are_inputs_alone(mesh):
    config = model.ModelConfig(backbone=TINY, method=plain.Plain())
    batch = as_rows(random_batch(groups=2, rows=1))
    del batch["condition_tokens"]
    params = initial_params(config)
    logits, (tokens, _) = (f(params, batch) for f in _computations(Rows(config)))
    first = jnp.argmax(logits[:, 0], axis=-1)
    assert jnp.array_equal(tokens[:, 0], first)


def _computations(rows):
    return rows.logits, rows.greedy


@pytest.mark.parametrize("method", [hyper_t5.HyperT5Prefix(length=2), lora.Lora()])
def test_initial_variables_need_no_mesh_and_know_their_axes(method):
    config = model.ModelConfig(backbone=TINY, method=method)
    rows = Rows(config)
    variables = jax.eval_shape(rows.initial_variables, jax.random.PRNGKey(0))
    shapes = flatten_dict(variables["params"], sep="/")
    names = flatten_dict(dict(rows.parameters.axes), sep="/")
    told = partitioning.get_axis_names(variables["params_axes"])
    told = flatten_dict(told.unfreeze(), sep="/")
    assert {path: tuple(spec) for path, spec in told.items()} == names
    assert all(len(names[path]) == leaf.ndim for path, leaf in shapes.items())


def test_methods_that_read_numbers_of_tasks_are_refused():
    method = hyperformer.HyperFormer(tasks=("a", "b"))
    with pytest.raises(ValueError, match="got one that reads 'task'"):
        Rows(model.ModelConfig(backbone=TINY, method=method))


def test_all_axes_of_parameters_have_a_rule():
    rules = factoring.factor_rules()
    assert rules.keys() == {*sharding.RULES, None} - ACTIVATIONS
    assert {*rules.values()} == {"row", "column", "batch", "none"}


@pytest.mark.parametrize("config", [tiny_hint(), tiny_hint(tied_encoder=False)])
def test_stacked_kernels_are_factored(config):
    rules = factoring.factor_rules()
    for names in flatten_dict(model.abstract_parameters(config).axes).values():
        if len(names) > 2:
            kinds = sorted(rules[name] for name in names)
            assert kinds == ["batch", "column", "row"], names


@pytest.fixture(scope="module")
def task():
    seqio = pytest.importorskip("seqio")
    importlib.import_module("hyperx.tasks.toyworld")
    return seqio.get_mixture_or_task("toyworld")


LENGTHS = {"condition": 9, "inputs": 7, "prompt": 14, "targets": 8}


def converted(task, reads, count=3):
    """Text and converted rows of a few examples."""
    examples = task.get_dataset(LENGTHS, "validation", shuffle=False).take(count)
    rows = RowFeatureConverter(reads)(examples, LENGTHS)
    return [*examples.as_numpy_iterator()], [*rows.as_numpy_iterator()]


def test_a_row_brings_its_condition(task):
    decode = vocabularies.get("toyworld").decode
    for example, row in zip(*converted(task, "condition"), strict=True):
        for name, feature in {
            "condition_tokens": "condition",
            "encoder_input_tokens": "inputs",
            "decoder_target_tokens": "targets",
        }.items():
            assert row[name].shape == (LENGTHS[feature],)
            text = example[f"{feature}_pretokenized"].decode()
            assert decode(row[name].tolist()) == text
        targets = row["decoder_target_tokens"]
        assert row["decoder_input_tokens"].tolist() == [0, *targets[:-1].tolist()]
        assert row["decoder_loss_weights"].tolist() == (targets > 0).tolist()


@pytest.mark.parametrize("reads", ["prompt", "inputs"])
def test_a_model_without_condition_gets_none(task, reads):
    examples, rows = converted(task, reads, count=1)
    text = examples[0][f"{reads}_pretokenized"].decode()
    assert "condition_tokens" not in rows[0]
    decode = vocabularies.get("toyworld").decode
    assert decode(rows[0]["encoder_input_tokens"].tolist()) == text


def test_rows_cannot_be_packed():
    with pytest.raises(ValueError, match="expected pack = False"):
        RowFeatureConverter("condition", pack=True, use_custom_packing_ops=False)


def test_a_length_that_is_missing_is_an_error(task):
    examples = task.get_dataset(LENGTHS, "validation", shuffle=False)
    with pytest.raises(ValueError, match="condition"):
        RowFeatureConverter("condition")(examples, {"inputs": 7, "targets": 8})


def test_without_t5x_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "t5x", None)
    monkeypatch.delitem(sys.modules, "hyperx.t5x_plugin.library", raising=False)
    with pytest.raises(ImportError, match="pip install git.*docs/t5x.md"):
        importlib.import_module("hyperx.t5x_plugin.library")
