"""What t5x calls of the plug-in's classes, written down.

The table holds without t5x; where that is installed, it must agree with its classes.
"""

import ast
import inspect
import pathlib

import pytest

import hyperx
from hyperx.t5x_plugin.feature_converters import RowFeatureConverter

FOLDER = pathlib.Path(hyperx.__file__).parent / "t5x_plugin"

MODEL = ("models", "HyperEncoderDecoderModel")
PARTITIONER = ("partitioning", "MeshPartitioner")
OPTIMIZER = ("optimizers", "Adafactor")
INITIALIZER = ("initializing", "StateInitializer")

# Our class and method: its parameters, and who calls it (files of t5x).
CALLS = {
    # utils.py TrainStateInitializer
    (*MODEL, "get_initial_variables"): ("rng", "input_shapes", "input_types"),
    # models.py BaseTransformerModel.loss_fn
    (*MODEL, "_compute_logits"): ("params", "batch", "dropout_rng"),
    # models.py predict_batch, eval.py InferenceEvaluator, infer.py
    (*MODEL, "predict_batch_with_aux"): ("params", "batch", "rng"),
    # eval.py InferenceEvaluator, infer.py
    (*MODEL, "score_batch"): ("params", "batch", "return_intermediates"),
    # trainer.py, utils.py from_scratch and get_infer_fn
    (*PARTITIONER, "partition"): (
        "fn",
        "in_axis_resources",
        "out_axis_resources",
        "static_argnums",
        "donate_argnums",
    ),
    # utils.py TrainStateInitializer, checkpoints.py
    (*PARTITIONER, "get_mesh_axes"): ("train_state",),
    # train_state.py FlaxOptimTrainState.create
    (*OPTIMIZER, "set_param_axes"): ("param_logical_axes",),
    # adafactor.py init_state
    (*OPTIMIZER, "init_param_state"): ("param", "path"),
    # adafactor.py apply_gradient
    (*OPTIMIZER, "apply_param_gradient"): (
        "step",
        "hyper_params",
        "param",
        "state",
        "grad",
        "path",
    ),
    # train.py
    (*INITIALIZER, "__init__"): (
        "optimizer_def",
        "init_fn",
        "input_shapes",
        "partitioner",
        "input_types",
    ),
    # train.py, utils.py create_checkpoint_manager_and_restore
    (*INITIALIZER, "from_scratch"): ("init_rng",),
}

# The class of t5x whose place ours takes.
THEIRS = {
    MODEL: ("models", "BaseModel"),
    PARTITIONER: ("partitioning", "PjitPartitioner"),
    OPTIMIZER: ("adafactor", "Adafactor"),
    INITIALIZER: ("utils", "TrainStateInitializer"),
}


def methods(module, name):
    """The methods that a class of ours defines, read from its source."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return {n.name: n for n in found.body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("call", CALLS, ids=".".join)
def test_our_classes_have_what_t5x_calls(call):
    *owner, name = call
    arguments = methods(*owner)[name].args
    ours = [argument.arg for argument in arguments.args[1:]]
    wanted = list(CALLS[call])
    assert ours[: len(wanted)] == wanted
    assert len(ours) - len(wanted) <= len(arguments.defaults)


@pytest.mark.parametrize("call", CALLS, ids=".".join)
def test_the_table_is_what_t5x_declares(call):
    library = pytest.importorskip("hyperx.t5x_plugin.library", exc_type=ImportError)
    module, name, method = call
    their_module, their_class = THEIRS[module, name]
    if method == "_compute_logits":
        their_class = "BaseTransformerModel"
    theirs = getattr(getattr(library, their_module), their_class)
    parameters = inspect.signature(getattr(theirs, method)).parameters
    assert tuple(parameters)[1:] == CALLS[call]


def test_a_converter_is_made_as_t5x_makes_it():
    # utils.py get_dataset_inner; eval.py and infer.py say pack alone.
    parameters = inspect.signature(RowFeatureConverter).parameters
    assert list(parameters) == ["reads", "pack", "use_custom_packing_ops"]
    assert RowFeatureConverter("condition", pack=False).pack is False
