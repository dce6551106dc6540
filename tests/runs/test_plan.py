"""Plans: what is asked for and what is told; `test_plan_compiled` compiles some."""

import importlib.util
import json
import os
import types

import jax
import jax.numpy as jnp
import pytest
from conftest import tiny_hint

from hyperx import cli, sharding
from hyperx.data import batches as batches_lib
from hyperx.data import examples as examples_lib
from hyperx.data import startup
from hyperx.methods.hyperprompt import HyperPrompt
from hyperx.methods.plain import Plain
from hyperx.optim.optimizers import AdamW
from hyperx.runs import configuration
from hyperx.runs.planning import outcomes, report
from hyperx.runs.planning.programs import Decoding, Training, batch_shapes
from hyperx.runs.planning.slices import Slice
from hyperx.runs.state import Recipe, initial
from hyperx.runs.train import TrainingData
from hyperx.tasks import toyworld

GIB = 2**30
LENGTHS = {"condition": 8, "inputs": 6, "prompt": 14, "targets": 8}


def data(**fields):
    given = dict(mixture_or_task_name="toyworld", feature_lengths=LENGTHS)
    return TrainingData(**(given | dict(batch_size=8, rows=2) | fields))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v4", "a slice such as v4:4x4x8"),
        ("v3:4x4", "of v4, v5e, v5p, v6e, got 'v3:4x4'"),
        ("v4:4x4", "3 sides for v4, such as v4:4x4x4, got 'v4:4x4'"),
        ("v5e:32x4", "sides of at most 16 for v5e"),
        ("v4:0x4x4", "at most 4096 chips"),
        ("v5p:32x32x32", "at most 6144 chips"),
    ],
)
def test_a_slice_that_there_is_not_is_an_error(name, expected):
    with pytest.raises(ValueError, match=expected):
        Slice.parse(name)


@pytest.mark.parametrize(
    ("text", "slices", "sizes"),
    [
        (None, 1, (16, 2, 4)),
        (None, 2, (32, 2, 4)),
        ("data=32,model=2", 1, (32, 2, 2)),
        ("model=8", 1, (8, 2, 8)),
    ],
)
def test_a_mesh_has_from_the_run_what_is_left_out(text, slices, sizes):
    axes = Slice.parse("v4:4x4x8", slices).mesh_axes(text, fsdp=2, model=4)
    assert axes == dict(zip(("data", "fsdp", "model"), sizes, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data=32", r"the 128 chips of 1 x v4:4x4x8, got 32 \(data\) .* = 32"),
        ("model=3", r"128 chips .* = 126"),
        ("data=32,rows=4", "expected a mesh such as"),
        ("data=4,data=4", "expected a mesh such as"),
        ("data", "expected a mesh such as"),
    ],
)
def test_a_mesh_of_other_chips_is_an_error(text, expected):
    with pytest.raises(ValueError, match=expected):
        Slice.parse("v4:4x4x8").mesh_axes(text, fsdp=1, model=1)


def test_without_libtpu_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'hyperx\[plan\]'"):
        Slice.parse("v5e:2x2").devices()


@pytest.mark.parametrize(
    ("method", "extra"),
    [
        (tiny_hint().method, ("other_condition", "prompt")),
        (HyperPrompt(tasks=toyworld.task_names("toyworld_tasks")), ()),
        (Plain(reads="prompt"), ()),
        (Plain(reads="inputs"), ("prompt",)),
    ],
)
def test_batches_have_the_shapes_of_those_that_are_read(method, extra):
    planned = batch_shapes(data(), method, extra)
    lengths = LENGTHS | {"other_condition": LENGTHS["condition"]}
    names = dict.fromkeys((*batches_lib.FEATURES_READ[method.reads], *extra))
    examples = examples_lib.load(
        "toyworld_tasks" if method.reads == "task" else "toyworld",
        "validation",
        feature_lengths={name: lengths[name] for name in names},
        tasks=getattr(method, "tasks", None) if method.reads == "task" else None,
    )
    batch = batches_lib.GroupedBatches(
        examples,
        groups=4,
        rows=2,
        feature_lengths=lengths,
        reads=method.reads,
        extra=extra,
        seed=0,
    )[0]
    read = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert read == {name: (leaf.shape, leaf.dtype) for name, leaf in planned.items()}


def test_a_feature_without_a_length_is_an_error():
    missing = data(feature_lengths={"inputs": 4, "targets": 4})
    with pytest.raises(ValueError, match=r"got no \['condition'\]"):
        batch_shapes(missing, tiny_hint().method)


def training(**fields):
    recipe = Recipe(tiny_hint(), AdamW(learning_rate=1e-3))
    given = dict(recipe=recipe, data=data(), micro_batches=1, z_loss=1e-4)
    return Training(**(given | dict(objectives=()) | fields))


def test_conditions_that_evaluation_refuses_are_not_planned():
    config = tiny_hint()
    decoding = Decoding(config=config, feature_lengths={}, groups=6, rows=1)
    with pytest.raises(ValueError, match="EVAL_GROUPS, .* by 8, .* got 6"):
        decoding.outcomes(sharding.make_mesh())


def test_the_step_is_that_of_a_state_and_a_batch_that_exist():
    job, mesh = training(), sharding.make_mesh(2, 2, 2)
    program = job.step(mesh)
    shapes = batch_shapes(job.data, job.recipe.config.method)
    where = sharding.batch_shardings(shapes, mesh)
    with sharding.use(mesh):
        planned = program.lower().as_text()
    state = initial(job.recipe, job.kept(mesh), mesh, seed=0)
    batch = {
        name: jax.device_put(jnp.ones(leaf.shape, leaf.dtype), where[name])
        for name, leaf in shapes.items()
    }
    kept = state.params, state.opt_state
    sizes = {
        name: sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(x))
        for name, x in zip(("parameters", "optimizer state"), kept, strict=True)
    }
    assert {k: outcomes.per_chip(program.arguments[k]) for k in sizes} == sizes
    made = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding
        ),
        (state, batch),
    )
    declared = (job.kept(mesh), program.arguments["batch"])
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: (
                (a.shape, a.dtype) == (b.shape, b.dtype)
                and a.sharding.is_equivalent_to(b.sharding, a.ndim)
            ),
            made,
            declared,
        )
    )
    assert "jax.buffer_donor" in planned or "tf.aliasing_output" in planned


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required "
            "for HLO temporaries (16.25G) exceeds available HBM (15.75G).",
            16.25 * 2**30,
        ),
        ("Used 512.5M of 256.00M hbm. Exceeded by 256.5M.", 512.5 * 2**20),
        ("Something else.", None),
    ],
)
def test_what_a_program_needs_is_read_from_the_compiler(message, size):
    assert outcomes.required(message) == size


@pytest.mark.parametrize("fits", [True, False])
def test_the_exit_code_tells_whether_it_fits(fits, monkeypatch):
    calls = []

    def call(name, **arguments):
        calls.append((name, arguments))
        return {"fits": fits}

    monkeypatch.setattr(startup, "prepare_tensorflow", lambda: None)
    monkeypatch.setattr(configuration, "call", call)
    argv = ["plan", "--gin_file=models/hint_base.gin", "--topology=v4:4x4x4", "--json"]
    assert cli.main([*argv, "--mesh=model=4", "--gin.FSDP=2"]) == (0 if fits else 1)
    given = {"topology": "v4:4x4x4", "mesh": "model=4", "slices": 1}
    assert calls == [
        ("hyperx.runs.plan.plan", given | {"decode": False, "as_json": True})
    ]
    assert configuration.macro("FSDP") == 2
    assert cli.main(["plan", "--topology=v4:4x4x4"]) == 1  # no configuration
    assert len(calls) == 1


def test_libtpu_has_its_settings_before_jax_looks_for_devices(monkeypatch):
    monkeypatch.delenv("LIBTPU_INIT_ARGS", raising=False)
    found = []

    def call(name, **_):  # Where settings of the run ask what it runs on.
        found.append((os.environ["LIBTPU_INIT_ARGS"], jax.config.jax_platforms))
        return {"fits": True}

    monkeypatch.setattr(configuration, "call", call)
    files = ("--gin_file=runs/toyworld.gin", "--gin_file=methods/inputs_only.gin")
    assert cli.main(["plan", *files, "--topology=v5e:2x2"]) == 0
    assert found == [("--fibers_default_thread_stack_size=2097152", "cpu")]


def test_a_program_that_does_not_fit_is_shown_with_what_it_is_given(capsys):
    array = {"path": "parameters/a", "shape": (8, 4), "per_chip": (2, 4)}
    program = types.SimpleNamespace(
        name="training step",
        arguments={"parameters": 3 * GIB},
        memory={"temporary": 17 * GIB},
        peak=20 * GIB,
        flops=8e12,
        seconds={"trace": 1.0, "compile": 2.0},
        fits=False,
        largest=[array | {"bytes": 2 * GIB}],
        message="RESOURCE_EXHAUSTED: no\nmore",
    )
    told = {
        "fits": False,
        "method": "Hint",
        "parameters": 1234,
        "dtype": "bfloat16",
        "topology": "v5e:2x2",
        "slices": 2,
        "chips": 8,
        "hbm": 16 * GIB,
        "mesh": {"data": 8, "fsdp": 1, "model": 1},
        "groups": 4,
        "rows": 2,
        "micro_batches": 2,
        "feature_lengths": {"inputs": 4},
        "programs": [vars(program)],
        "suggestions": ["MICRO_BATCHES=4: less"],
    }
    report.show(json.loads(json.dumps(told)))
    shown = capsys.readouterr().out
    for part in (
        "2 x v5e:2x2: 8 chips, mesh data 8, fsdp 1, model 1",
        "4 conditions x 2 rows in 2 parts; lengths inputs 4",
        "20.00 GiB",
        "17.00 GiB",
        "1e+12 FLOPs",
        "2.00 GiB  parameters/a  8 x 4 -> 2 x 4",
        "compiler: RESOURCE_EXHAUSTED: no\n",
        "does not fit",
        "  MICRO_BATCHES=4: less",
    ):
        assert part in shown, part
    assert "more\n" not in shown.replace("no\nmore", "")
