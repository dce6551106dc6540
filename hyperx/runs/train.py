"""Training: from a configuration to checkpoints, as one linear story."""

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping, Sequence

import jax
from etils import epath
from jax.sharding import Mesh

from hyperx import model, sharding
from hyperx.checkpoints import description
from hyperx.checkpoints.store import Store
from hyperx.config import T5Config
from hyperx.data import batches as batches_lib
from hyperx.data import examples as examples_lib
from hyperx.methods.method import Method
from hyperx.objectives.objective import Objective
from hyperx.optim.optimizers import Optimizer
from hyperx.runs import configuration, distributed, models, periodic, teachers
from hyperx.runs.evaluate import Evaluator
from hyperx.runs.loop import Loop
from hyperx.runs.metrics_log import MetricsLog
from hyperx.runs.state import Recipe, TrainState, initial, load_initial
from hyperx.runs.step import make_step

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What is trained on.

    Attributes:
        mixture_or_task_name: a name in the seqio registries.
        split: of it.
        feature_lengths: longest ``condition``, ``inputs``, ``prompt`` and ``targets``.
        batch_size: rows in a batch (G * R).
        rows: rows that share a condition (R).
        seed: orders the data.
        use_cached: whether to read seqio's cache.
        cache_dir: where it is looked for first; ``hyperx cache`` writes one.
        registered: tasks that a configuration registered on the way here.
    """

    mixture_or_task_name: str
    split: str = "train"
    feature_lengths: Mapping[str, int]
    batch_size: int
    rows: int = 1
    seed: int = 0
    use_cached: bool = False
    cache_dir: str | None = None
    registered: Sequence[str] = ()

    @property
    def groups(self) -> int:
        """Conditions in a batch (G)."""
        if self.batch_size % self.rows:
            raise ValueError(
                f"expected BATCH_SIZE to be a multiple of ROWS={self.rows}, got "
                f"{self.batch_size}"
            )
        return self.batch_size // self.rows

    def lengths(self, method: Method, extra: Sequence[str] = ()) -> dict[str, int]:
        """The longest of every feature that is read.

        Args:
            method: what it reads.
            extra: features besides; another condition is as long as the first.

        Raises:
            ValueError: if one has no length.
        """
        features = dict.fromkeys((*batches_lib.FEATURES_READ[method.reads], *extra))
        lengths = dict(self.feature_lengths)
        if "condition" in lengths:
            lengths.setdefault("other_condition", lengths["condition"])
        missing = [name for name in features if name not in lengths]
        if missing:
            raise ValueError(
                f"expected TASK_FEATURE_LENGTHS with {list(features)}, got no {missing}"
            )
        return {name: lengths[name] for name in features}

    def load(
        self, method: Method, mesh: Mesh, extra: Sequence[str] = ()
    ) -> batches_lib.GroupedBatches:
        """Reads the examples and arranges them in batches for this process.

        Args:
            method: what it reads is loaded.
            mesh: whose devices the batches are for.
            extra: features to load besides.
        """
        reads, lengths = method.reads, self.lengths(method, extra)
        examples = examples_lib.load(
            self.mixture_or_task_name,
            self.split,
            feature_lengths=lengths,
            use_cached=self.use_cached,
            cache_dir=self.cache_dir,
            tasks=method.tasks if reads == "task" else None,
        )
        logger.info("training on %s", examples.summary())
        return batches_lib.GroupedBatches(
            examples,
            groups=self.groups,
            rows=self.rows,
            feature_lengths=lengths,
            reads=reads,
            extra=extra,
            seed=self.seed,
            share=distributed.share(self.groups, mesh),
        )


def train(
    *,
    model_dir: str | os.PathLike[str],
    backbone: T5Config,
    method: Method,
    vocabulary: str,
    data: TrainingData,
    optimizer: Optimizer,
    total_steps: int,
    objectives: Sequence[Objective] = (),
    frozen: Sequence[str] = (),
    rate_factors: Mapping[str, float] | None = None,
    initial_checkpoint_path: str | None = None,
    save_period: int = 1000,
    keep_checkpoints: int = 2,
    log_period: int = 10,
    eval_period: int | None = None,
    evaluator: Evaluator | None = None,
    micro_batches: int = 1,
    z_loss: float = 0.0,
    model_parallel: int = 1,
    fsdp: int = 1,
    seed: int = 0,
) -> dict[str, float]:
    """Trains a model, or goes on training the one in `model_dir`.

    The same call after a kill continues at the last checkpoint and ends with the same
    parameters as a run that was never killed.

    Args:
        model_dir: receives checkpoints, metrics and the configuration.
        backbone: sizes of the T5.
        method: what adapts it.
        vocabulary: see `hyperx.data.vocabularies.get`.
        data: what is trained on.
        optimizer: updates what trains.
        total_steps: the step to stop at, counted from the first run's start.
        objectives: what is added to the token loss.
        frozen: regular expressions of parameters that do not train.
        rate_factors: factors of the learning rate, by regular expression of parameters;
            see `hyperx.optim.rate_factors.of`.
        initial_checkpoint_path: a model directory to start from, or None.
        save_period: steps between checkpoints; the last step is always saved.
        keep_checkpoints: how many of the newest to keep.
        log_period: steps between lines of ``metrics.jsonl``.
        eval_period: steps between evaluations; None for none.
        evaluator: what to evaluate with then.
        micro_batches: see `hyperx.runs.step.make_step`.
        z_loss: see `hyperx.ops.losses.cross_entropy`.
        model_parallel: size of the mesh's model axis.
        fsdp: size of its fsdp axis, over which rows, parameters and optimizer state
            lie; the rest is data.
        seed: of initialisation and dropout.

    Returns:
        The metrics of the last step taken, ``step`` and ``total_steps``: more than
        ``step`` if SIGTERM ended the run.

    Raises:
        FloatingPointError: when the loss, a gradient or an update is not finite; the
            last checkpoint is from before it.
        ValueError: when `model_dir` holds another model, or settings contradict.
    """
    config = model.ModelConfig(backbone=backbone, method=method)
    models.check_vocabulary(vocabulary, backbone)
    if initial_checkpoint_path is not None:
        models.check_same_vocabulary(initial_checkpoint_path, vocabulary)
    mesh = sharding.make_mesh(fsdp=fsdp, model=model_parallel)
    sharding.check_groups(data.groups, mesh, micro_batches)
    recipe = Recipe(config, optimizer, frozen, rate_factors)
    described = models.describe(config, vocabulary, data.feature_lengths)
    evaluate = None
    if eval_period and evaluator:
        evaluate = periodic.evaluation(evaluator, config, described, mesh)

    with Store(
        epath.Path(model_dir) / models.CHECKPOINTS,
        save_period=save_period,
        keep=keep_checkpoints,
    ) as store:
        latest = distributed.agreed(store.latest())
        fresh = latest is None
        description.write(model_dir, described, models.FREE, replace=fresh)
        taught_by = teachers.load(objectives, config, vocabulary, mesh)
        extra = dict.fromkeys(name for term in objectives for name in term.features)
        batches = data.load(method, mesh, tuple(extra))
        if fresh:
            state = _start(recipe, mesh, seed, initial_checkpoint_path)
        else:
            logger.info("continuing at step %d", latest)
            state = store.restore(latest, recipe.abstract(mesh))
        configuration.write(model_dir)
        log = None
        if distributed.first():
            log = MetricsLog(model_dir, resumed_step=latest or 0)
        loop = Loop(
            store=store,
            mesh=mesh,
            log=log,
            log_period=log_period,
            eval_period=eval_period,
            evaluate=evaluate,
        )
        step = make_step(
            recipe,
            micro_batches=micro_batches,
            z_loss=z_loss,
            objectives=objectives,
        )
        key = jax.random.key(seed + 1)
        return loop.run(step, state, batches, total_steps, key, taught_by)


def _start(
    recipe: Recipe, mesh: Mesh, seed: int, initial_checkpoint_path: str | None
) -> TrainState:
    """A fresh state, perhaps with the parameters of another model."""
    state = initial(recipe, recipe.abstract(mesh), mesh, seed)
    params, new = state.params, None
    if initial_checkpoint_path is not None:
        directory = epath.Path(initial_checkpoint_path) / models.CHECKPOINTS
        params, paths = load_initial(params, directory, recipe.config.method.copies)
        counts = {kind: len(found) for kind, found in paths.items()}
        logger.info("parameters from %s: %s", initial_checkpoint_path, counts)
        new = frozenset(paths["new"])
        if not new:  # a hypernetwork that was trained stays as it is
            return state.replace(params=params)
    where = jax.tree.map(lambda leaf: leaf.sharding, params)
    start = functools.partial(recipe.config.method.start, new=new)
    start = jax.jit(start, out_shardings=where, donate_argnums=0)
    return state.replace(params=start(params))
