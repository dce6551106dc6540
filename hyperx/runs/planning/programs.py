"""What runs compile, from shapes alone: a training step, decoding."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from hyperx import costs, model, sharding
from hyperx.backbone import steps
from hyperx.checkpoints import description
from hyperx.data import batches as batches_lib
from hyperx.inference import buckets
from hyperx.inference.decoding import Greedy, Requests, Running, Shape, loop
from hyperx.inference.programs import Programs
from hyperx.methods.method import Method
from hyperx.objectives.objective import Objective, Teacher
from hyperx.runs import step as step_lib
from hyperx.runs.evaluate import check_groups
from hyperx.runs.planning.outcomes import Outcome, Program, compiled
from hyperx.runs.state import Recipe
from hyperx.runs.train import TrainingData
from hyperx.task_state import TaskState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A training step.

    Attributes:
        recipe: model, optimizer, and what is frozen.
        data: what is trained on; shapes alone are used.
        micro_batches: see `hyperx.runs.step.make_step`, as the others below.
        z_loss: see there.
        objectives: see there.
    """

    recipe: Recipe
    data: TrainingData
    micro_batches: int
    z_loss: float
    objectives: Sequence[Objective]

    @property
    def groups(self) -> int:
        """Conditions in a batch (G)."""
        return self.data.groups

    @property
    def rows(self) -> int:
        """Rows per condition (R)."""
        return self.data.rows

    def kept(self, mesh: Mesh) -> Any:
        """What lies on the chips from step to step."""
        return self.recipe.abstract(mesh)

    def outcomes(self, mesh: Mesh) -> list[Outcome]:
        """Compiles the step."""
        sharding.check_groups(self.groups, mesh, self.micro_batches)
        return [compiled(self.step(mesh), mesh)[0]]

    def step(self, mesh: Mesh) -> Program:
        """The step as `hyperx.runs.loop.Loop` compiles it."""
        method = self.recipe.config.method
        extra = dict.fromkeys(
            name for term in self.objectives for name in term.features
        )
        batch = batch_shapes(self.data, method, tuple(extra))
        where = sharding.batch_shardings(batch, mesh)
        batch = {name: _placed(leaf, where[name]) for name, leaf in batch.items()}
        state = self.kept(mesh)
        key = jax.eval_shape(lambda: jax.random.key(0))
        teachers = tuple(_teacher(objective, mesh) for objective in self.objectives)
        step = step_lib.make_step(
            self.recipe,
            micro_batches=self.micro_batches,
            z_loss=self.z_loss,
            objectives=self.objectives,
        )
        arguments = (state, batch, key, teachers)
        named = {
            "parameters": state.params,
            "optimizer state": state.opt_state,
            "teachers": [teacher.params for teacher in teachers if teacher],
            "batch": batch,
        }
        return Program(
            name="training step",
            arguments=named,
            lower=lambda: step_lib.compiled(step, state).lower(*arguments),
            flops=lambda: costs.flops(step, *arguments),
        )


def batch_shapes(
    data: TrainingData, method: Method, extra: Sequence[str] = ()
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the batches that `data` gives without reading any.

    Args:
        data: what is trained on.
        method: what it reads.
        extra: features besides, see `hyperx.data.batches.GroupedBatches`.
    """
    groups, rows, lengths = data.groups, data.rows, data.lengths(method, extra)

    def tokens(feature: str, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        leading = (groups, rows)
        if feature in ("condition", *batches_lib.SHARED):
            leading = (groups,)
        length = lengths[feature]
        if (method.reads, feature) == ("task", "condition"):
            length = 1  # a number
        return jax.ShapeDtypeStruct((*leading, length), dtype)

    shapes = {
        "encoder_tokens": tokens(batches_lib.ENCODER_FEATURE[method.reads]),
        "decoder_input_tokens": tokens("targets"),
        "decoder_target_tokens": tokens("targets"),
        "decoder_loss_weights": tokens("targets", jnp.float32),
    }
    if method.reads in batches_lib.CONDITIONED:
        shapes["condition_tokens"] = tokens("condition")
    return shapes | {f"{name}_tokens": tokens(name) for name in extra}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a predictor computes: it reads conditions, then decodes under them.

    Attributes:
        config: of the model.
        feature_lengths: longest ``condition``, ``inputs``, ``prompt`` and ``targets``.
        groups: conditions that are computed together (G).
        rows: rows per condition that are computed together (R).
    """

    config: model.ModelConfig
    feature_lengths: Mapping[str, int]
    groups: int
    rows: int
    micro_batches: None = None

    def kept(self, mesh: Mesh) -> Any:
        """What lies on the chips all the time: the parameters."""
        return parameters(self.config, mesh)

    def outcomes(self, mesh: Mesh) -> list[Outcome]:
        """Compiles both programs; the second only if the first fits."""
        check_groups(self.groups, mesh)
        programs = Programs(self.config, mesh)
        params = self.kept(mesh)
        groups = buckets.groups(self.groups, sharding.group_parts(mesh))
        read, done = compiled(self.reading(programs, params, groups), mesh)
        if done is None:
            return [read]
        state = jax.tree.map(_placed, done.out_info, done.output_shardings)
        program = self.decoding(programs, params, state, groups, mesh)
        return [read, compiled(program, mesh)[0]]

    def reading(self, programs: Programs, params: Any, groups: int) -> Program:
        """The program that reads conditions and writes their state."""
        tokens = None
        if self.config.method.reads in batches_lib.CONDITIONED:
            tokens = self._tokens(groups, self._length("condition"))
        return Program(
            name="adaptation",
            arguments={"parameters": params, "tokens": tokens},
            lower=lambda: programs.adapt.lower(params, tokens),
            flops=lambda: costs.flops(programs.adapt, params, tokens),
        )

    def decoding(
        self,
        programs: Programs,
        params: Any,
        state: TaskState,
        groups: int,
        mesh: Mesh,
    ) -> Program:
        """The program that decodes greedily under a state, to the longest output."""
        feature = batches_lib.ENCODER_FEATURE[self.config.method.reads]
        tokens = self._tokens(groups, buckets.size(self.rows), self._length(feature))
        longest = self.feature_lengths["targets"]
        requests = Requests.of(Greedy(), longest).full(*tokens.shape[:2])
        shape = Greedy().shape(longest).bucketed()
        with sharding.use(mesh):
            weights_of = functools.partial(steps.weights_of, self.config.backbone)
            read = jax.jit(weights_of).lower(params).compile()
        weights = jax.tree.map(_placed, read.out_info, read.output_shardings)
        arguments = (params, weights, tokens, state, requests, shape)
        return Program(
            name="decoding",
            arguments={
                "parameters": params,
                "decoder, layer by layer": (weights.head, weights.layers),
                "task states": state,
                "tokens": tokens,
            },
            lower=lambda: programs.generate.lower(*arguments),
            flops=lambda: _decoding_flops(self.config, longest, *arguments),
        )

    def _tokens(self, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    def _length(self, feature: str) -> int:
        """The length to which the predictor pads the longest text."""
        if (self.config.method.reads, feature) == ("task", "condition"):
            return 1  # a number
        return buckets.length(self.feature_lengths[feature])


def _decoding_flops(
    config: model.ModelConfig,
    longest: int,
    params: Any,
    weights: steps.Weights,
    tokens: Any,
    state: Any,
    requests: Requests,
    shape: Shape,
) -> int:
    """Operations of decoding `longest` tokens: before the loop, and in every turn."""
    module = config.build()

    def begin(params: Any, tokens: jax.Array, state: TaskState) -> Running:
        return loop.begin(module, params, tokens, state, requests, shape)

    def step(weights: steps.Weights, running: Running) -> jax.Array:
        return loop.next_logits(module, weights, running)[0]

    running = jax.eval_shape(begin, params, tokens, state)
    before = costs.flops(begin, params, tokens, state)
    return before + longest * costs.flops(step, weights, running)


def parameters(config: model.ModelConfig, mesh: Mesh) -> Any:
    """Shapes and shardings of a model's parameters."""
    abstract = model.abstract_parameters(config)
    return sharding.declared(abstract.shapes, abstract.axes, mesh)


def _teacher(objective: Objective, mesh: Mesh) -> Teacher | None:
    """An objective's teacher without its values, as `hyperx.runs.teachers` loads it."""
    if objective.teacher is None:
        return None
    described = description.read(objective.teacher)
    config = model.ModelConfig.from_json(described["model"])
    return Teacher(parameters(config, mesh), config)


def _placed(leaf: Any, where: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
