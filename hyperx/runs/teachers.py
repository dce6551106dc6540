"""The teachers of a run's objectives: loaded once, never trained."""

from collections.abc import Sequence

from jax.sharding import Mesh

from hyperx.checkpoints import description
from hyperx.model import ModelConfig
from hyperx.objectives.objective import Objective, Teacher, check_names
from hyperx.runs import models


def load(
    objectives: Sequence[Objective], config: ModelConfig, vocabulary: str, mesh: Mesh
) -> tuple[Teacher | None, ...]:
    """Checks that the objectives suit a model and loads their teachers.

    Args:
        objectives: what the model is trained for beside its targets.
        config: of the model.
        vocabulary: of the model, see `hyperx.data.vocabularies.get`.
        mesh: where the teachers' parameters are spread as the model's are.

    Returns:
        A teacher for every objective, None where it has none.

    Raises:
        FileNotFoundError: if there is no such teacher.
        ValueError: if an objective does not suit the model, or a teacher reads another
            vocabulary.
    """
    check_names(objectives)
    return tuple(_load(objective, config, vocabulary, mesh) for objective in objectives)


def _load(
    objective: Objective, config: ModelConfig, vocabulary: str, mesh: Mesh
) -> Teacher | None:
    if objective.teacher is None:
        objective.check(config, None)
        return None
    described = description.read(objective.teacher)
    objective.check(config, ModelConfig.from_json(described["model"]))
    models.check_same_vocabulary(objective.teacher, vocabulary)
    teacher = models.load(objective.teacher, mesh=mesh)
    return Teacher(teacher.params, teacher.config)
