"""States of a tiny T5 to let leave, and what computes with them here."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from conftest import TINY

from hyperx.adaptation import (
    Adapter,
    LayerAdaptation,
    LowRank,
    Memory,
    Prefix,
    Scale,
    SiteParts,
)
from hyperx.inference.predictor import Predictor
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig, abstract_parameters
from hyperx.task_state import TaskState

OLD = dataclasses.replace(TINY, mlp_activations=("relu",), tie_embeddings=True)
FAMILIES = {"v1.0": OLD, "v1.1": TINY}
LAYERS = {"encoder": TINY.num_encoder_layers, "decoder": TINY.num_decoder_layers}
WIDTHS = {"wi": (32, 48), "wi_0": (32, 48), "wi_1": (32, 48), "wo": (48, 32)}
WIDTHS |= dict.fromkeys(("query", "key", "value"), (32, 48)) | {"out": (48, 32)}
DECODER_SITES = ("self_attention", "cross_attention", "mlp")


def predictor_of(backbone, **changed) -> Predictor:
    """A plain T5 of random parameters; those named by their path are replaced."""
    config, rng = ModelConfig(backbone=backbone, method=Plain()), numpy_rng()
    params = jax.tree.map(
        lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
        abstract_parameters(config).shapes,
    )
    return Predictor(config, params | changed, None, {})


def numpy_rng(seed=0):
    return np.random.default_rng(seed)


def logits(predictor, state):
    """Logits of `batch`, those without a state, and that both differ."""
    tokens, decoder = batch()
    state = state.replace(fingerprint=predictor.fingerprint)
    ours = np.asarray(predictor.logits(tokens, decoder, state))
    assert np.abs(ours - np.asarray(predictor.logits(tokens, decoder))).max() > 0.1
    return ours


def batch():
    """Inputs ``[3, 9]``, one of them shorter, and what a decoder reads ``[3, 6]``."""
    tokens = numpy_rng().integers(2, 64, (3, 9)).astype(np.int32)
    tokens[1, 4:] = 0
    return tokens, np.pad(tokens[:, :5], ((0, 0), (1, 0)))


def normal(*shape, scale=0.3):
    values = numpy_rng(sum(shape)).normal(size=shape)
    return jnp.asarray(scale * values, jnp.float32)


def low_rank(stack, name, rank=2, scale=0.5, groups=1):
    read, written = WIDTHS[name]
    size = (LAYERS[stack], groups, rank)
    return LowRank(normal(*size, read), normal(*size, written), scale)


def lora_everywhere(backbone, groups=1):
    """The same rank and factor for all kernels of a backbone."""
    attention = ("query", "key", "value", "out")
    names = dict.fromkeys(DECODER_SITES[:2], attention)
    names["mlp"] = (*backbone.mlp_inputs, "wo")

    def stack(stack, sites):
        return LayerAdaptation(
            **{
                site: SiteParts(
                    low_rank={n: low_rank(stack, n, groups=groups) for n in names[site]}
                )
                for site in sites
            }
        )

    encoder = stack("encoder", ("self_attention", "mlp"))
    return TaskState(encoder=encoder, decoder=stack("decoder", DECODER_SITES))


def lora_here_and_there(groups=1):
    """Some projections of some sub-layers, of different ranks and factors."""
    query = {"query": low_rank("encoder", "query", 3, 1.25, groups)}
    value = {"value": low_rank("decoder", "value", 2, 0.4, groups)}
    wo = {"wo": low_rank("decoder", "wo", 5, 1.25, groups)}
    return TaskState(
        encoder=LayerAdaptation(self_attention=SiteParts(low_rank=query)),
        decoder=LayerAdaptation(
            cross_attention=SiteParts(low_rank=value), mlp=SiteParts(low_rank=wo)
        ),
    )


def scales(stack, *names, groups=1):
    size = (LAYERS[stack], groups, 48)
    return SiteParts(scale={n: Scale(1 + normal(*size, scale=0.5)) for n in names})


def ia3_everywhere():
    attention, hidden = ("key", "value"), ("hidden",)
    return TaskState(
        encoder=LayerAdaptation(
            self_attention=scales("encoder", *attention), mlp=scales("encoder", *hidden)
        ),
        decoder=LayerAdaptation(
            self_attention=scales("decoder", *attention),
            cross_attention=scales("decoder", *attention),
            mlp=scales("decoder", *hidden),
        ),
    )


def ia3_of_values():
    """Without any feed-forward layer."""
    return TaskState(
        decoder=LayerAdaptation(cross_attention=scales("decoder", "value"))
    )


def prefix(stack, length=3, gate=None, groups=1):
    size = (LAYERS[stack], groups, length, TINY.num_heads, TINY.head_dim)
    gate = None if gate is None else jnp.full((LAYERS[stack], groups, 4), gate)
    return Prefix(normal(*size), normal(*size[:-1], size[-1] + 1)[..., 1:], gate)


def decoder_prefix(gate=None):
    parts = SiteParts(prefix=prefix("decoder", gate=gate))
    return TaskState(decoder=LayerAdaptation(self_attention=parts))


def soft_prompt(groups=1):
    return TaskState(prompt=normal(groups, 4, 32))


def all_kinds(groups=2):
    """A state with every kind of part."""
    down, up = normal(2, groups, 4, 32), normal(2, groups, 4, 32)
    adapter = Adapter(
        down,
        up,
        normal(2, groups, 4),
        normal(2, groups, 32),
        normal(2, groups, 32),
        normal(2, groups, 32),
        activation="relu",
        placement="sequential",
    )
    keys = normal(3, groups, 5, 4, 12)
    mask = np.arange(5) < np.array([5, 3])[:groups, None]
    here = lora_here_and_there(groups)
    cross = here.decoder.cross_attention.replace(
        prefix=prefix("decoder", gate=0.5, groups=groups),
        scale=scales("decoder", "key", groups=groups).scale,
    )
    return here.replace(
        encoder=here.encoder.replace(mlp=SiteParts(adapter=adapter)),
        decoder=here.decoder.replace(cross_attention=cross),
        memory=Memory(keys, keys + 1, jnp.asarray(mask)),
        prompt=normal(groups, 4, 32),
        fingerprint="0123456789abcdef",
    )
