"""HyperPrompt's generator: hyper-prompts for the self-attention of every layer.

A task's *global prompts* are read by a small *local network* of each layer, which
writes keys and values. Local networks are learned, or written in turn by two global
hypernetworks from a layer-aware task embedding (He et al. 2022, section 3). Each stack
has its own set of everything.

NOTE: how the paper's parameters start is not known, nor what relative position bias
its hyper-prompts have; here they have none.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from hyperx import adaptation, axes, sharding
from hyperx.adaptation import LayerAdaptation, Prefix, SiteParts
from hyperx.backbone.layers import boxed
from hyperx.config import T5Config
from hyperx.emission import Emission
from hyperx.hypernetworks.conditioning import Conditioning

Variant = Literal["share", "sep", "global"]
_SIDES = ("key", "value")
_PROMPT_SCALE = 0.5  # as in prompt tuning (Lester et al. 2021)
_STDDEV = 0.01  # of hypernetworks, as in HyperFormer (Mahabadi et al. 2021)
_NORM_EPSILON = 1e-12  # codes start small: a larger one would shrink them


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptGeneratorConfig:
    """What the generator writes, and how.

    Attributes:
        backbone: the T5 whose self-attentions are prompted.
        variant: where local networks come from. ``share``: learned, one per layer;
            ``sep``: learned, one per layer and task; ``global``: generated.
        tasks: how many there are.
        encoder_length: hyper-prompts of an encoder layer (P); 0 for none.
        decoder_length: the same of a decoder layer.
        bottleneck: hidden width of the local networks (M).
        task_width: of a layer-aware task embedding (t in the paper).
        raw_width: of the embeddings of tasks and layers behind it (t').
        mlp_width: hidden width of the network that joins the two (e).
        normalized_code: normalise layer-aware task embeddings to mean 0, variance 1.
        head_bias: add what all tasks and layers share to generated local networks.
    """

    backbone: T5Config
    variant: Variant
    tasks: int
    encoder_length: int
    decoder_length: int
    bottleneck: int
    task_width: int
    raw_width: int
    mlp_width: int
    normalized_code: bool
    head_bias: bool


class PromptGenerator(nn.Module):
    """Emits hyper-prompts for both stacks, or for one of them."""

    config: PromptGeneratorConfig

    @nn.compact
    def __call__(self, code: jax.Array) -> Conditioning:
        """Emissions of encoder and decoder for the numbers of tasks ``[G]``."""
        config, backbone = self.config, self.config.backbone
        sizes = {
            "encoder": (config.encoder_length, backbone.num_encoder_layers),
            "decoder": (config.decoder_length, backbone.num_decoder_layers),
        }
        kind = _Generated if config.variant == "global" else _Learned
        emissions = {
            stack: kind(config, length, layers, name=stack)(code)
            for stack, (length, layers) in sizes.items()
            if length
        }
        return Conditioning(**emissions)


class _Stack(nn.Module):
    """What the variants share: the global prompts of one stack.

    Attributes:
        config: of the generator.
        length: of the prompts (P).
        layers: of the stack (L).
    """

    config: PromptGeneratorConfig
    length: int
    layers: int

    def _prompts(self, tasks: jax.Array) -> jax.Array:
        """Global prompts ``[G, P, D]`` of tasks ``[G]``."""
        embed = self.config.backbone.embed_dim
        shape = (self.config.tasks, self.length * embed)
        table = self.param("prompts", boxed(_uniform, axes.TASKS, None), shape)
        prompts = jnp.take(table, tasks, axis=0).reshape(-1, self.length, embed)
        return sharding.constrain(prompts, (axes.GROUPS, axes.PREFIX, axes.EMBED))

    def _normal(
        self, name: str, stddev: float, names: sharding.Names, shape: tuple[int, ...]
    ) -> jax.Array:
        """A parameter that starts normally distributed."""
        return self.param(name, boxed(nn.initializers.normal(stddev), *names), shape)


class _Learned(_Stack):
    """Share and Sep: the local networks are parameters.

    NOTE: they start by fan-in; at T5 base, hyper-prompts then start as large as those
    of Global.
    """

    @nn.compact
    def __call__(self, tasks: jax.Array) -> Emission:
        """The emission of one stack for tasks ``[G]``."""
        config = self.config
        embed, joined = config.backbone.embed_dim, config.backbone.joined_heads
        size, sets = config.bottleneck, config.tasks if config.variant == "sep" else 1
        into, out = (axes.EMBED, None), (None, axes.JOINED_HEADS)
        # The kernels of all tasks lie below each other: a matrix for every layer.
        sizes = {"down": (embed, size, into), "up": (size, joined, out)}
        layers = {
            f"{side}_{way}": self._normal(
                *(f"{side}_{way}", read**-0.5, (axes.LAYERS, *names)),
                (self.layers, sets * read, written),
            )
            for side in _SIDES
            for way, (read, written, names) in sizes.items()
        }
        shared = {"prompts": self._prompts(tasks), "tasks": tasks}
        return Emission.of(_EmitLearned(config), shared=shared, layers=layers)


@dataclasses.dataclass(frozen=True)
class _EmitLearned:
    """Runs one layer's own local networks."""

    config: PromptGeneratorConfig

    def __call__(
        self, shared: dict[str, Any], layer: dict[str, jax.Array]
    ) -> LayerAdaptation:
        prompts = shared["prompts"].astype(self.config.backbone.dtype)
        kernels = {k: self._of_tasks(x, shared["tasks"]) for k, x in layer.items()}
        vectors = {}
        for side in _SIDES:
            down, up = kernels[f"{side}_down"], kernels[f"{side}_up"]
            hidden = jax.nn.relu(jnp.einsum("GPD,GDM->GPM", prompts, down))
            vectors[side] = jnp.einsum("GPM,GMo->GPo", hidden, up)
        return _prefix(self.config.backbone, vectors)

    def _of_tasks(self, kernels: jax.Array, tasks: jax.Array) -> jax.Array:
        """The groups' kernels ``[G or 1, in, out]`` among those of all tasks."""
        kernels = kernels.astype(self.config.backbone.dtype)
        if self.config.variant == "share":
            return kernels[None]
        kernels = kernels.reshape(self.config.tasks, -1, kernels.shape[-1])
        return jnp.take(kernels, tasks, axis=0)


class _Generated(_Stack):
    """Global: local networks are linear in the layer-aware task embedding.

    They never exist: what the first global hypernetwork makes of the prompts is the
    same in all layers, and is computed once; the embedding then weighs it.
    """

    @nn.compact
    def __call__(self, tasks: jax.Array) -> Emission:
        """The emission of one stack for tasks ``[G]``."""
        config, prompts, shared = self.config, self._prompts(tasks), {}
        embed, joined = config.backbone.embed_dim, config.backbone.joined_heads
        units = (config.task_width + config.head_bias) * config.bottleneck
        into, out = (axes.EMBED, None), (None, axes.JOINED_HEADS)
        for side in _SIDES:
            down = self._normal(f"{side}_down", _STDDEV, into, (embed, units))
            read = jnp.einsum("GPD,Do->GPo", prompts, down)
            shared[side] = {
                "read": read.reshape(*read.shape[:2], -1, config.bottleneck),
                "up": self._normal(f"{side}_up", _STDDEV, out, (units, joined)),
            }
        emit = _EmitGenerated(config.backbone)
        return Emission.of(emit, shared=shared, layers=self._codes(tasks))

    def _codes(self, tasks: jax.Array) -> jax.Array:
        """Layer-aware task embeddings ``[L, G, t]``."""
        config, none = self.config, (None, None)
        raw, hidden, width = config.raw_width, config.mlp_width, config.task_width
        names, shape = (axes.TASKS, None), (config.tasks, raw)
        task = self._normal("task_embedding", 1.0, names, shape)
        names, shape = (axes.LAYERS, None), (self.layers, raw)
        layer = self._normal("layer_embedding", 1.0, names, shape)
        wi = self._normal("mlp_wi", _STDDEV, none, (2 * raw, hidden))
        wo = self._normal("mlp_wo", _STDDEV, none, (hidden, width))
        task = jnp.take(task, tasks, axis=0) @ wi[:raw]
        code = jax.nn.relu(task[None] + (layer @ wi[raw:])[:, None]) @ wo
        if config.normalized_code:
            # NOTE: as in HyperFormer, but without scale and shift: the paper's
            # parameter count leaves no room for them.
            code = nn.standardize(code, epsilon=_NORM_EPSILON, algorithm="stable")
        if config.head_bias:  # is the weight of one more entry
            code = jnp.pad(code, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
        return sharding.constrain(code, (axes.LAYERS, axes.GROUPS, None))


@dataclasses.dataclass(frozen=True)
class _EmitGenerated:
    """Weighs what was read of the prompts by one layer's task embeddings ``[G, t]``."""

    backbone: T5Config

    def __call__(self, shared: dict[str, Any], layer: jax.Array) -> LayerAdaptation:
        dtype, vectors = self.backbone.dtype, {}
        shared, code = jax.tree.map(lambda x: x.astype(dtype), (shared, layer))
        for side, heads in shared.items():
            hidden = jax.nn.relu(jnp.einsum("GPiM,Gi->GPM", heads["read"], code))
            spread = jnp.einsum("GPM,Gi->GPiM", hidden, code)
            spread = spread.reshape(*spread.shape[:2], -1)
            vectors[side] = jnp.einsum("GPi,io->GPo", spread, heads["up"])
        return _prefix(self.backbone, vectors)


def _prefix(backbone: T5Config, vectors: dict[str, jax.Array]) -> LayerAdaptation:
    """Keys and values ``[G, P, H * K]`` as a prefix of self-attention."""
    heads = (backbone.num_heads, backbone.head_dim)
    own = {side: x.reshape(*x.shape[:2], *heads) for side, x in vectors.items()}
    parts = LayerAdaptation(self_attention=SiteParts(prefix=Prefix(**own)))
    return adaptation.constrain(parts)


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
    return jax.random.uniform(key, shape, dtype, -_PROMPT_SCALE, _PROMPT_SCALE)
