"""Models of hyperx on batches of t5x, where every row brings its own condition.

t5x cuts a batch into micro-batches, pads it and shards it along its one axis of rows.
So a row is a group here: G = B conditions of R = 1 row each. That is the same loss as
with shared conditions, but B rows cost B conditions.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import jax
from flax import traverse_util
from flax.linen import partitioning
from jax.sharding import PartitionSpec

from hyperx import model, sharding
from hyperx.inference import decoding

Batch = Mapping[str, jax.Array]


class Rows:
    """A model on rows.

    A batch has ``encoder_input_tokens [B, S]``, ``decoder_input_tokens [B, T]``,
    ``decoder_target_tokens [B, T]`` and, if the model reads conditions,
    ``condition_tokens [B, I]``.

    Attributes:
        config: of the model.
        module: the model.
        parameters: shapes and logical axes of its parameters.
    """

    def __init__(self, config: model.ModelConfig) -> None:
        if config.method.reads == "task":
            raise ValueError(
                "expected a method that reads 'condition', 'prompt' or 'inputs' under "
                "t5x, got one that reads 'task': rows of seqio do not number tasks"
            )
        self.config = config
        self.module = config.build()
        self.parameters = model.abstract_parameters(config)

    def initial_variables(self, key: jax.Array) -> dict[str, Any]:
        """Initial parameters, and their logical axes as t5x wants them.

        Args:
            key: random key, typed or not.

        Returns:
            ``params`` and ``params_axes``, in which the name of a leaf ends in
            ``_axes``.
        """
        with _some_mesh():
            params = self.config.method.start(self.initial_params(key))
        return {"params": params, "params_axes": self._axes()}

    def initial_params(self, key: jax.Array) -> dict[str, Any]:
        """Initial parameters before `hyperx.methods.method.Method.start`."""
        with _some_mesh():
            return model.init(self.config, key)

    def logits(
        self, params: Any, batch: Batch, dropout_key: jax.Array | None = None
    ) -> jax.Array:
        """Teacher-forced logits ``[B, T, V]`` in float32.

        Args:
            params: of the model.
            batch: see above.
            dropout_key: turns dropout on; None turns it off.
        """
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        grouped = {
            "encoder_tokens": batch["encoder_input_tokens"][:, None],
            "decoder_input_tokens": batch["decoder_input_tokens"][:, None],
        }
        if "condition_tokens" in batch:
            grouped["condition_tokens"] = batch["condition_tokens"]
        logits = self.module.apply({"params": params}, grouped, rngs=rngs)
        return logits[:, 0]

    def greedy(self, params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """The most likely token at every position.

        Args:
            params: of the model.
            batch: see above; of the targets only the length is used.

        Returns:
            Tokens ``[B, T]``, EOS included and padded after it, and their
            log-probability ``[B]``.
        """
        state = self.module.apply(
            {"params": params}, batch.get("condition_tokens"), method="adapt"
        )
        tokens, scores = decoding.greedy(
            self.module,
            params,
            batch["encoder_input_tokens"][:, None],
            state,
            max_new_tokens=batch["decoder_input_tokens"].shape[1],
        )
        return tokens[:, 0], scores[:, 0]

    def _axes(self) -> dict[str, Any]:
        flat = traverse_util.flatten_dict(self.parameters.axes)
        return traverse_util.unflatten_dict(
            {
                (*path[:-1], f"{path[-1]}_axes"): partitioning.AxisMetadata(
                    PartitionSpec(*names)
                )
                for path, names in flat.items()
            }
        )


def _some_mesh() -> contextlib.AbstractContextManager:
    """The ambient mesh; one device's where there is none.

    t5x asks for the shapes of parameters before it enters a mesh.
    """
    if not jax.sharding.get_abstract_mesh().empty:
        return contextlib.nullcontext()
    one = sharding.make_mesh(1, devices=jax.devices()[:1])
    return jax.sharding.use_abstract_mesh(one.abstract_mesh)
