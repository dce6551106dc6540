"""Small trainings compiled for meshes: what the tests of meshes share.

Sizes are chosen so that an array of a compiled program is known by its shape.
"""

import dataclasses
import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hyperx import adaptation, config, model, sharding
from hyperx.methods.hint import Hint
from hyperx.methods.hyper_t5 import HyperT5Lora
from hyperx.methods.hyperdecoders import Hyperdecoders
from hyperx.methods.hyperprompt import HyperPrompt
from hyperx.optim.optimizers import Adafactor, AdamW
from hyperx.runs.state import Recipe
from hyperx.runs.step import make_step

GROUPS, ROWS, STEPS = 24, 2, 10
BACKBONE = config.t5_1_1(
    "tiny",
    embed_dim=40,
    num_heads=8,
    head_dim=9,
    mlp_dim=56,
    vocab_size=64,
    num_encoder_layers=3,
    num_decoder_layers=3,
    remat="none",
)
TASKS = tuple("abcdefg")
ADAM = AdamW(learning_rate=1e-3)
# The backend's share of compiling: only what programs compute and exchange matters.
QUICK = {"xla_cpu_use_fusion_emitters": False}


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained."""

    method: object
    backbone: config.T5Config = BACKBONE
    optimizer: object = ADAM
    frozen: tuple[str, ...] = ()

    @property
    def config(self):
        return model.ModelConfig(backbone=self.backbone, method=self.method)

    @functools.cached_property
    def recipe(self):
        return Recipe(self.config, self.optimizer, self.frozen)


CASES = {
    "hint": Case(
        Hint(bottleneck=48, prefix_length=11),
        dataclasses.replace(BACKBONE, remat="full"),
        Adafactor(learning_rate=1e-3, min_dim_size_to_factor=16),
    ),
    "hyper_t5_lora": Case(HyperT5Lora(rank=11), frozen=("(?!hypernetwork/)",)),
    "hyperdecoders": Case(
        Hyperdecoders(encoder_bottleneck=48, decoder_bottleneck=88, hidden=13)
    ),
    "hyperprompt": Case(
        HyperPrompt(
            tasks=TASKS,
            encoder_length=11,
            decoder_length=17,
            bottleneck=16,
            task_width=8,
        )
    ),
}


@functools.cache
def mesh_of(name: str) -> Mesh:
    return sharding.make_mesh(*map(int, name.split("x")))


@functools.cache
def batch_of(reads: str) -> dict[str, jax.Array]:
    """A batch with padding and the conditions that a method reads."""
    keys = iter(jax.random.split(jax.random.key(0), 8))

    def tokens(*shape):
        found = jax.random.randint(next(keys), shape, 1, BACKBONE.vocab_size)
        return jnp.where(found < 9, 0, found)

    targets = tokens(GROUPS, ROWS, 5)
    batch = {
        "encoder_tokens": tokens(GROUPS, ROWS, 7),
        "decoder_input_tokens": jnp.roll(targets, 1, -1).at[..., 0].set(0),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets != 0).astype(jnp.float32),
    }
    if reads == "condition":
        batch["condition_tokens"] = tokens(GROUPS, 13)
    if reads == "task":
        batch["condition_tokens"] = jnp.arange(GROUPS)[:, None] % len(TASKS)
    return batch


class Run:
    """One method's training on one mesh: the program, and what it did."""

    def __init__(self, name: str, mesh_name: str) -> None:
        case, self.mesh = CASES[name], mesh_of(mesh_name)
        self.abstract = case.recipe.abstract(self.mesh)
        where = jax.tree.map(lambda leaf: leaf.sharding, self.abstract)
        batch = batch_of(case.method.reads)
        batch = jax.device_put(batch, sharding.batch_shardings(batch, self.mesh))
        step = jax.jit(make_step(case.recipe), out_shardings=(where, None))
        state = jax.device_put(start_of(name), where)
        self.losses = []
        with sharding.use(self.mesh):
            lowered = step.lower(state, batch, jax.random.key(1))
            program = lowered.compile(compiler_options=QUICK)
            for _ in range(STEPS):
                state, metrics = program(state, batch, jax.random.key(1))
                self.losses.append(float(metrics["loss"]))
        self.state, self.text = state, program.as_text()


run_of = functools.cache(Run)


@functools.cache
def start_of(name: str):
    """A fresh state, the same for every mesh."""
    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        init = jax.jit(CASES[name].recipe.init, compiler_options=QUICK)
        return jax.device_get(init(jax.random.key(0)))


def generated(case: Case, mesh: Mesh, params):
    """All layers' weights that a batch asks for, on `mesh`: encoder's, decoder's."""

    def all_layers(module, batch):
        conditioning = module.condition(batch.get("condition_tokens"))
        _, read = module.encode(batch["encoder_tokens"], conditioning)
        return conditioning.encoder.materialize(), read.decoder.materialize()

    def emit(params, batch):
        return case.config.build().apply({"params": params}, batch, method=all_layers)

    batch = batch_of(case.method.reads)
    batch = jax.device_put(batch, sharding.batch_shardings(batch, mesh))
    with sharding.use(mesh):
        if isinstance(jax.tree.leaves(params)[0], jax.ShapeDtypeStruct):
            return jax.eval_shape(emit, params, batch)
        return jax.jit(emit, compiler_options=QUICK)(params, batch)


def named(stacks):
    """Path, array and axis names of everything generated."""
    leaves = jax.tree_util.tree_leaves_with_path(stacks)
    names = tuple(map(adaptation.axes, stacks))
    names = jax.tree.structure(stacks).flatten_up_to(names)
    for (path, leaf), own in zip(leaves, names, strict=True):
        yield jax.tree_util.keystr(path), leaf, own


def shapes_in(text: str) -> set[tuple[int, ...]]:
    """Shapes of all arrays of a program, but for the order of axes and sizes of 1."""
    found = re.findall(r"\[([0-9,]+)\]", text)
    return {_known_by(map(int, shape.split(","))) for shape in found}


def _known_by(shape) -> tuple[int, ...]:
    return tuple(sorted(size for size in shape if size > 1))


def forms(shape, names, mesh: Mesh):
    """How one layer's array could lie on devices.

    Returns:
        Its shape on one device as declared; and those it has where rows that belong to
        other devices are there as well.
    """
    entries = (own or () for own in sharding.spec(names))
    axes = [(own,) if isinstance(own, str) else own for own in entries]

    def part(left_out):
        parts = (
            math.prod(mesh.shape[axis] for axis in own if axis not in left_out)
            for own in axes
        )
        return _known_by(n // by for n, by in zip(shape, parts, strict=True))

    used = [axis for axis in mesh.axis_names if mesh.shape[axis] > 1]
    too_whole = {
        part(left_out)
        for count in range(1, len(used) + 1)
        for left_out in itertools.combinations(used, count)
        if set(left_out) & set(axes[0])
    }
    return part(()), too_whole
