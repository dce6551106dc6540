"""Ways to serve a task, and what each costs: once per task, and per example.

- *kept state*: the condition is read once; its weights and its memory are kept and
  shared by all inputs and beams.
- *reference mode*: as the published code of HINT does it. Every row reads its condition
  and generates its weights; keys and values of memory and input are projected at every
  decoding step; beams are copies.
- *concatenation*: a plain T5 of the same size reads the condition before every input.
- *decoder-only*: a model with as many weights, in layers of one attention, whose keys
  and values of the condition are kept and shared by all inputs.
"""

import dataclasses

from hyperx import model
from hyperx.costs import analytic, counting, serving
from hyperx.costs.analytic import Weights, Work
from hyperx.costs.serving import Examples
from hyperx.costs.stages import PARAMETER, Alternative, Stage, Use
from hyperx.hypernetworks.conditioners.texts import InstructionEncoder, TextEmbedding
from hyperx.hypernetworks.generators.queries import QueryGenerator

# Stages of a task.
ENCODE, GENERATE, FUSE = "encode condition", "generate", "fuse"


def of_model(config: model.ModelConfig, use: Use) -> dict[str, Alternative]:
    """All alternatives for a model, by name; allocates no parameters.

    Formulas tell everything but generators other than HINT's, which are counted in the
    program: what is left of a condition's operations after its encoding and its memory,
    and for methods that write for single inputs, what is left of an example's.

    Args:
        config: of the model. If its backbone reads condition and input in one text, it
            does so for every example.
        use: how the task is served.
    """
    backbone = config.backbone
    examples, hypernetwork = _examples(config, use), _hypernetwork(config)
    works, single = _generation(config, examples, hypernetwork)
    parameters = PARAMETER * Weights.of(backbone).total(backbone) + hypernetwork
    # The reference projects no memory ahead.
    per_row = {name: work for name, work in works.items() if name != FUSE}
    return {
        "kept state": Alternative(
            once=_moved(works, examples, hypernetwork, rows=1),
            each=single | examples.shared(),
            parameters=parameters,
            task=examples.state.nbytes,
            row=examples.shared_row,
        ),
        "reference mode": Alternative(
            once={},
            each=_moved(per_row, examples, hypernetwork, rows=use.rows)
            | single
            | examples.copied(),
            parameters=parameters,
            task=0,
            row=examples.copied_row,
        ),
        "concatenation": serving.concatenation(backbone, use),
        "decoder-only": serving.decoder_only(backbone, use),
    }


def _examples(config: model.ModelConfig, use: Use) -> Examples:
    if config.method.reads == "prompt":
        use = dataclasses.replace(use, inputs=use.condition + use.inputs)
    return Examples(config.backbone, use, model.abstract_state(config, use.condition))


def _generation(
    config: model.ModelConfig, examples: Examples, hypernetwork: int
) -> tuple[dict[str, Work], dict[str, Stage]]:
    """What a hypernetwork, of so many bytes, does per task, and per input."""
    use, state = examples.use, examples.state
    network = config.method.hypernetwork(config.backbone)
    if network is None:
        return {}, {}
    works = {FUSE: examples.project(examples.fused)}
    if isinstance(network.conditioner, (InstructionEncoder, TextEmbedding)):
        works[ENCODE] = analytic.encoder(config.backbone, use.condition)
    if isinstance(network.generator, QueryGenerator):
        written = analytic.query_generator(network.generator.config, use.condition)
        return works | {GENERATE: written}, {}
    counted = counting.of_model(
        config, condition=use.condition, inputs=use.inputs, targets=use.targets
    )
    known = sum(work.flops for work in works.values())
    works[GENERATE] = Work(counted.task - known)
    if network.instance is None:
        return works, {}
    one_beam = dataclasses.replace(use, beams=1)
    stages = Examples(config.backbone, one_beam, state).shared()
    known = sum(stage.work.flops for stage in stages.values())
    left = Stage(Work(counted.example - known), hypernetwork / use.rows)
    return works, {f"{GENERATE} for the input": left}


def _moved(
    works: dict[str, Work], examples: Examples, hypernetwork: int, rows: int
) -> dict[str, Stage]:
    """Stages of a task in order, if there is any work in them, and what they move.

    What is read of parameters is divided among rows that are computed together; what is
    written is not.
    """
    backbone, own = examples.backbone, Weights.of(examples.backbone)
    memory = serving.nbytes(examples.state.memory)
    reads = {
        ENCODE: PARAMETER * own.encoder(backbone),
        GENERATE: hypernetwork,
        FUSE: PARAMETER * own.cross_projections(backbone),
    }
    writes = {GENERATE: examples.state.nbytes - memory, FUSE: memory}
    return {
        name: Stage(works[name], read / rows + writes.get(name, 0))
        for name, read in reads.items()
        if name in works and works[name].flops
    }


def _hypernetwork(config: model.ModelConfig) -> int:
    """Bytes of the hypernetwork's parameters."""
    shapes = model.abstract_parameters(config).shapes
    return serving.nbytes(shapes.get("hypernetwork", {}))
