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
from hyperx.adaptation import Encoded, Memory
from hyperx.backbone.t5 import T5
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.hypernetworks.hypernetwork import Hypernetwork
from hyperx.methods.method import Method
from hyperx.ops import losses
from hyperx.task_state import TaskState

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
                with a hypernetwork that reads them, ``condition_tokens [G, I]``.

        Returns:
            ``[G, R, T, V]`` in float32.
        """
        return self.conditioned(batch)[0]

    def conditioned(self, batch: Batch) -> tuple[jax.Array, Conditioning]:
        """As `__call__`, and the conditioning under which it was computed."""
        conditioning = self.condition(batch.get("condition_tokens"))
        return self.forward(batch, conditioning), conditioning

    def condition(self, tokens: jax.Array | None) -> Conditioning:
        """What conditions ``[G, I]``, or None for none, do to the backbone.

        Raises:
            ValueError: if conditions are missing, or given to a model that reads none.
        """
        hypernetwork = self.hypernetwork
        reads = hypernetwork is not None and hypernetwork.conditioner is not None
        if (tokens is not None) != reads:
            raise ValueError(
                f"expected {'' if reads else 'no '}condition tokens for this model, "
                f"got {'none' if tokens is None else tokens.shape}"
            )
        if hypernetwork is None:
            return Conditioning()
        return hypernetwork(tokens, self.backbone)

    def forward(self, batch: Batch, conditioning: Conditioning) -> jax.Array:
        """Teacher-forced logits ``[G, R, T, V]`` under a given conditioning."""
        encoded, conditioning = self.encode(batch["encoder_tokens"], conditioning)
        return self.decode(batch["decoder_input_tokens"], conditioning, encoded)

    def decode(
        self, tokens: jax.Array, conditioning: Conditioning, encoded: Encoded | Memory
    ) -> jax.Array:
        """Logits ``[G, R, T, V]`` of what `encode` or `start` made of the inputs."""
        sources = conditioning.sources(encoded)
        logits = self.backbone.decode(
            tokens.reshape(*encoded.mask.shape[:2], -1), conditioning.decoder, sources
        )
        return logits.reshape(*tokens.shape, -1)

    def encode(
        self, tokens: jax.Array, conditioning: Conditioning
    ) -> tuple[Encoded, Conditioning]:
        """Encodes input tokens ``[G, R, S]`` with the adapted encoder.

        Returns:
            What was encoded, and the conditioning of the decoder. Both have G groups of
            R rows; but ``G * R`` groups of one row where the hypernetwork writes a
            decoder for every row.
        """
        encoder, prompt = conditioning.encoder, conditioning.prompt
        encoded = self.backbone.encode(tokens, encoder, prompt)
        if self.hypernetwork is None or self.hypernetwork.instance is None:
            return encoded, conditioning
        alone = _rows_as_groups(encoded)
        emissions = self.hypernetwork.read_rows(alone)
        if "encoder" in emissions:
            rows = _rows_as_groups(tokens)
            alone = self.backbone.encode(rows, emissions["encoder"], prompt)
            emissions = self.hypernetwork.read_rows(alone)
        if "decoder" in emissions:
            return alone, conditioning.replace(decoder=emissions["decoder"])
        encoded = jax.tree.map(lambda a, b: a.reshape(b.shape), alone, encoded)
        return encoded, conditioning

    def start(
        self, tokens: jax.Array, conditioning: Conditioning
    ) -> tuple[Memory, Conditioning]:
        """All that decoding `tokens` ``[G, R, S]`` needs, computed once.

        Returns:
            Cross-attention keys and values of the encoded input, and the conditioning
            with weights that exist; see `encode` for their groups and rows.
        """
        encoded, conditioning = self.encode(tokens, conditioning)
        if self.hypernetwork is not None and self.hypernetwork.instance is not None:
            decoder = Emission.precomputed(conditioning.decoder.materialize())
            conditioning = conditioning.replace(decoder=decoder)
        return self.backbone.project(encoded, conditioning.decoder), conditioning

    def adapt(self, tokens: jax.Array | None) -> TaskState:
        """Everything that is kept of conditions ``[G, I]``, or None; see `TaskState`.

        What is written for single rows is no part of it.
        """
        conditioning = self.condition(tokens)
        decoder, memory = conditioning.decoder.materialize(), conditioning.memory
        if isinstance(memory, Encoded):
            # Not with the emission as it came, which would generate all a second time.
            memory = self.backbone.project(memory, Emission.precomputed(decoder))
        state = TaskState(
            encoder=conditioning.encoder.materialize(),
            decoder=decoder,
            memory=memory,
            prompt=conditioning.prompt,
        )
        return state.broadcast(1 if tokens is None else tokens.shape[0]).constrain()


def _rows_as_groups(tree: Any) -> Any:
    """``[G, R, ...]`` to ``[G * R, 1, ...]``."""
    return jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), tree)


def _example_batch(config: ModelConfig) -> dict[str, jax.Array]:
    tokens = jnp.ones((1, 1, 1), jnp.int32)
    batch = {"encoder_tokens": tokens, "decoder_input_tokens": tokens}
    if config.method.reads in ("condition", "task"):
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


def abstract_state(config: ModelConfig, condition_length: int) -> TaskState:
    """Shapes of the state of one condition, without allocating any.

    Args:
        config: of the model.
        condition_length: tokens of the condition (I), if the model reads its text.
    """
    module, shapes = config.build(), abstract_parameters(config).shapes
    length = {"condition": condition_length, "task": 1}.get(config.method.reads)
    tokens = None if length is None else jax.ShapeDtypeStruct((1, length), jnp.int32)

    def adapt(params: Any, tokens: jax.Array | None) -> TaskState:
        return module.apply({"params": params}, tokens, method="adapt")

    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        return jax.eval_shape(adapt, shapes, tokens)


def token_loss(
    logits: jax.Array, batch: Batch, *, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Summed token loss of logits ``[G, R, T, V]``.

    Sums, not means, so that micro-batches add up to exactly their batch.

    Returns:
        The loss in nats, and sums: ``tokens`` (weights), ``correct`` (tokens predicted
        right), ``cross_entropy`` (the loss without z-loss).
    """
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    total = jnp.sum(losses.cross_entropy(logits, targets, z_loss=z_loss) * weights)
    plain = jnp.sum(losses.cross_entropy(logits, targets) * weights)
    correct = jnp.sum(losses.predicted(logits, targets) * weights)
    sums = {"tokens": jnp.sum(weights), "correct": correct, "cross_entropy": plain}
    return total, sums
