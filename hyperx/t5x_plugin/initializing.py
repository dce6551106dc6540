"""Parameters to start from: new ones, perhaps with a T5 that hyperx has imported."""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
from etils import epath
from flax import core

from hyperx.runs import models, state
from hyperx.t5x_plugin.library import utils

logger = logging.getLogger(__name__)


class StateInitializer(utils.TrainStateInitializer):
    """t5x's initializer of train states, which can begin with a model of hyperx.

    Args:
        optimizer_def: as in t5x.
        init_fn: as in t5x.
        input_shapes: as in t5x.
        partitioner: as in t5x.
        input_types: as in t5x.
        initial_model_dir: a model directory, such as ``hyperx import`` writes; what it
            has not must be of the hypernetwork, and is new or copied from the T5. None
            for parameters that are all new.
    """

    def __init__(
        self,
        optimizer_def: Any,
        init_fn: Callable[..., Any],
        input_shapes: Mapping[str, Any],
        partitioner: Any,
        input_types: Mapping[str, Any] | None = None,
        initial_model_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(optimizer_def, init_fn, input_shapes, partitioner, input_types)
        self._model = init_fn.__self__
        self._initial = initial_model_dir

    def from_scratch(self, init_rng: jax.Array) -> Any:
        """The state of step 0.

        Raises:
            FileNotFoundError: if there is no model in the directory.
            ValueError: if that model has another vocabulary, or does not fit.
        """
        train_state = super().from_scratch(init_rng)
        if self._initial is None:
            return train_state
        return train_state.replace_params(core.freeze(self._loaded(init_rng)))

    def _loaded(self, init_rng: jax.Array) -> Any:
        """Parameters with those of the directory in them; see `hyperx.runs.train`."""
        models.check_same_vocabulary(self._initial, self._model.vocabulary_name)
        rows, partitioner = self._model.rows, self._partitioner
        method, where = rows.config.method, core.unfreeze(self.train_state_axes.params)
        fresh = partitioner.partition(rows.initial_params, None, where)(init_rng)
        folder = epath.Path(self._initial) / models.CHECKPOINTS
        params, paths = state.load_initial(fresh, folder, method.copies)
        counts = {kind: len(found) for kind, found in paths.items()}
        logger.info("parameters from %s: %s", self._initial, counts)
        if not paths["new"]:  # a hypernetwork that was trained stays as it is
            return params
        start = functools.partial(method.start, new=frozenset(paths["new"]))
        return partitioner.partition(start, (where,), where)(params)
