"""Evaluation in the course of training, by real decoding on the mesh of training."""

from collections.abc import Callable, Mapping
from typing import Any

from jax.sharding import Mesh

from hyperx.inference.predictor import Predictor
from hyperx.model import ModelConfig
from hyperx.runs import models
from hyperx.runs.evaluate import Evaluator, check_groups


def evaluation(
    evaluator: Evaluator, config: ModelConfig, described: Mapping[str, Any], mesh: Mesh
) -> Callable[[Any, int], dict[str, float]]:
    """A function of parameters and a step that finds their metrics.

    Of a job with several processes all call it, and all get the metrics.

    Args:
        evaluator: what to evaluate with.
        config: of the model.
        described: see `hyperx.runs.models.describe`.
        mesh: where the parameters lie.

    Raises:
        ValueError: if conditions that are decoded together do not divide by the mesh.
    """
    check_groups(evaluator.groups, mesh)
    vocabulary = models.vocabulary_of(described)
    lengths = described["feature_lengths"]
    predictor = Predictor(config, None, vocabulary, lengths, mesh)

    def evaluate(params: Any, step: int) -> dict[str, float]:
        results = evaluator.run(predictor.with_params(params), step=step)
        return evaluator.flat(results)

    return evaluate
