"""HyperModel: a backbone, perhaps a hypernetwork, and what is computed with both."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from hyperx import sharding
from hyperx.adaptation import Encoded, Memory, TaskState
from hyperx.backbone.blocks import Cache
from hyperx.backbone.t5 import T5
from hyperx.config import T5Config
from hyperx.hypernetworks.hypernetwork import Conditioning, Hypernetwork
from hyperx.methods.method import Method
from hyperx.ops import losses

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that defines a model's parameters: saved beside every checkpoint.

    Attributes:
        backbone: the T5.
        method: what adapts it.
    """

    backbone: T5Config
    method: Method

    def build(self) -> "HyperModel":
        """The module of this configuration."""
        return HyperModel(self.backbone, self.method.hypernetwork(self.backbone))

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable description; `from_json` reads it back."""
        kind = type(self.method)
        method = {"type": f"{kind.__module__}.{kind.__qualname__}"}
        return {
            "backbone": dataclasses.asdict(self.backbone),
            "method": method | dataclasses.asdict(self.method),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """Reads a description made by `to_json`.

        Raises:
            ValueError: if it names no known method or unknown fields.
        """
        fields = dict(data["method"])
        module, _, name = fields.pop("type").rpartition(".")
        try:
            method = getattr(importlib.import_module(module), name)(**fields)
            return cls(backbone=T5Config(**data["backbone"]), method=method)
        except (ImportError, AttributeError, TypeError) as error:
            raise ValueError(f"expected a known model description: {error}") from error


class HyperModel(nn.Module):
    """A T5 whose weights a hypernetwork completes.

    The backbone's parameters lie at the root of the tree, the hypernetwork's under
    ``hypernetwork``.

    Attributes:
        config: of the backbone.
        hypernetwork: reads conditions; None for a plain T5.
    """

    config: T5Config
    hypernetwork: Hypernetwork | None

    def setup(self) -> None:
        self.backbone = T5(self.config)
        nn.share_scope(self, self.backbone)

    def __call__(self, batch: Batch) -> jax.Array:
        """Teacher-forced logits of a grouped batch.

        Args:
            batch: ``encoder_tokens [G, R, S]``, ``decoder_input_tokens [G, R, T]`` and,
                with a hypernetwork, ``condition_tokens [G, I]``.

        Returns:
            ``[G, R, T, V]`` in float32.
        """
        conditioning = self.condition(batch.get("condition_tokens"))
        return self.forward(batch, conditioning)

    def condition(self, tokens: jax.Array | None) -> Conditioning:
        """What conditions ``[G, I]`` do to the backbone; None leaves it plain.

        Raises:
            ValueError: if conditions are missing, or given to a plain model.
        """
        if (tokens is None) != (self.hypernetwork is None):
            raise ValueError(
                f"expected {'no ' * (self.hypernetwork is None)}condition tokens for "
                f"this model, got {'none' if tokens is None else tokens.shape}"
            )
        if tokens is None:
            return Conditioning.nothing()
        return self.hypernetwork(tokens, self.backbone)

    def forward(self, batch: Batch, conditioning: Conditioning) -> jax.Array:
        """Teacher-forced logits ``[G, R, T, V]`` under a given conditioning."""
        encoded = self.encode(batch["encoder_tokens"], conditioning)
        sources = _sources(conditioning, encoded)
        tokens = batch["decoder_input_tokens"]
        return self.backbone.decode(tokens, conditioning.decoder, sources)[0]

    def encode(self, tokens: jax.Array, conditioning: Conditioning) -> Encoded:
        """Encodes input tokens ``[G, R, S]`` with the adapted encoder."""
        return self.backbone.encode(tokens, conditioning.encoder)

    def adapt(self, tokens: jax.Array | None) -> TaskState:
        """Everything that is kept of conditions ``[G, I]``; see `TaskState`."""
        conditioning = self.condition(tokens)
        memory = conditioning.memory
        if isinstance(memory, Encoded):
            memory = self.backbone.project(memory)
        return TaskState(
            encoder=conditioning.encoder.materialize(),
            decoder=conditioning.decoder.materialize(),
            memory=memory,
        )

    def project(self, encoded: Encoded) -> Memory:
        """Cross-attention keys and values of encoded inputs, for decoding."""
        return self.backbone.project(encoded)

    def step(
        self,
        tokens: jax.Array,
        conditioning: Conditioning,
        encoded: Encoded | Memory,
        cache: Cache,
        position: jax.Array,
    ) -> tuple[jax.Array, Cache]:
        """Logits ``[G, R, V]`` of the token after `tokens` ``[G, R]`` at `position`."""
        sources = _sources(conditioning, encoded)
        logits, cache = self.backbone.decode(
            tokens[..., None], conditioning.decoder, sources, cache, position
        )
        return logits[:, :, 0], cache


def _sources(
    conditioning: Conditioning, encoded: Encoded | Memory
) -> tuple[Encoded | Memory, ...]:
    """What the decoder attends to: the fused condition, if any, and the input."""
    memory = conditioning.memory
    return (encoded,) if memory is None else (memory, encoded)


def _example_batch(config: ModelConfig) -> dict[str, jax.Array]:
    tokens = jnp.ones((1, 1, 1), jnp.int32)
    batch = {"encoder_tokens": tokens, "decoder_input_tokens": tokens}
    if config.method.reads == "condition":
        batch["condition_tokens"] = tokens[0]
    return batch


def init(config: ModelConfig, key: jax.Array) -> dict[str, Any]:
    """Initial parameters; call inside `jax.jit` to place them by `parameter_axes`.

    Args:
        config: of the model.
        key: typed random key.
    """
    return nn.unbox(config.build().init(key, _example_batch(config)))["params"]


@struct.dataclass
class AbstractParameters:
    """Parameters without values.

    Attributes:
        shapes: tree of `jax.ShapeDtypeStruct`.
        axes: the same tree with a tuple of logical axis names per leaf.
    """

    shapes: Any
    axes: Any = struct.field(pytree_node=False)


def abstract_parameters(config: ModelConfig) -> AbstractParameters:
    """Shapes and logical axes of all parameters, without allocating any.

    Needs no ambient mesh.
    """
    one = sharding.make_mesh(1, 1, devices=jax.devices()[:1])
    key = jax.eval_shape(lambda: jax.random.key(0))
    with sharding.use(one):
        boxed = jax.eval_shape(
            lambda key: config.build().init(key, _example_batch(config)), key
        )
        shapes = jax.eval_shape(lambda key: init(config, key), key)
    return AbstractParameters(shapes, sharding.logical_axes(boxed)["params"])


def loss(
    model: HyperModel,
    params: Any,
    batch: Batch,
    dropout_key: jax.Array | None,
    *,
    z_loss: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Summed token loss of a grouped batch.

    Sums, not means, so that micro-batches add up to exactly their batch.

    Args:
        model: the module.
        params: its parameters.
        batch: as for `HyperModel.__call__`, and ``decoder_target_tokens`` and
            ``decoder_loss_weights``, both ``[G, R, T]``.
        dropout_key: turns dropout on; None turns it off.
        z_loss: see `hyperx.ops.losses.cross_entropy`.

    Returns:
        The loss in nats, and sums: ``tokens`` (weights), ``correct`` (tokens predicted
        right), ``cross_entropy`` (the loss without z-loss).
    """
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    logits = model.apply({"params": params}, batch, rngs=rngs)
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    total = jnp.sum(losses.cross_entropy(logits, targets, z_loss=z_loss) * weights)
    plain = jnp.sum(losses.cross_entropy(logits, targets) * weights)
    correct = jnp.sum((jnp.argmax(logits, axis=-1) == targets) * weights)
    sums = {"tokens": jnp.sum(weights), "correct": correct, "cross_entropy": plain}
    return total, sums
