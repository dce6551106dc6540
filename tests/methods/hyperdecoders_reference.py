"""Small Hyperdecoders, and what they write by the formula, input by input."""

import jax
import numpy as np
from conftest import TINY, initial_params, random_batch

from hyperx import model
from hyperx.adaptation import LayerAdaptation
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.methods.hyperdecoders import Hyperdecoders

TASKS = ("a", "b", "c")
BOTTLENECKS = {"encoder": 6, "decoder": 4}


def tiny(encoder="manual", decoder="generated", **fields) -> model.ModelConfig:
    sizes = {f"{stack}_bottleneck": size for stack, size in BOTTLENECKS.items()}
    if {"task", "manual_specific"} & {encoder, decoder}:
        fields = dict(reads="task", tasks=TASKS) | fields
    fields = sizes | dict(hidden=8) | fields
    method = Hyperdecoders(encoder=encoder, decoder=decoder, **fields)
    return model.ModelConfig(backbone=TINY, method=method)


def moved(full: model.ModelConfig):
    """Parameters whose adapters are large enough to matter."""
    params = initial_params(full)

    def move(leaf):
        return leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def batch_for(full: model.ModelConfig, groups: int = 3, rows: int = 1):
    batch = random_batch(groups, rows)
    numbers = batch.pop("condition_tokens")[:, :1] % len(TASKS)
    return batch | ({"condition_tokens": numbers} if full.method.tasks else {})


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def conditioned(module, params, batch) -> Conditioning:
    """What does not depend on inputs."""
    tokens = batch.get("condition_tokens")
    return module.apply({"params": params}, tokens, method="condition")


def decoder_weights(full: model.ModelConfig, params, batch) -> LayerAdaptation:
    """The decoder's weights ``[L, G * R, ...]``, if they are written for each row."""
    module, tokens = full.build(), batch["encoder_tokens"]

    @jax.jit
    def weights(params):
        before = conditioned(module, params, batch)
        variables = {"params": params}
        _, after = module.apply(variables, tokens, before, method="encode")
        return after.decoder.materialize()

    return weights(params)


def written(own, codes):
    """Adapters ``[L, G, ...]`` by the formula, one code and one layer at a time."""
    own = jax.tree.map(lambda x: np.asarray(x, np.float64), own)
    layers = []
    for embedding in own["layer_embedding"]:
        adapters = []
        for code in codes:
            joined = np.concatenate([code, embedding])
            hidden = joined @ own["hidden_layer"]["kernel"]
            hidden = np.maximum(hidden + own["hidden_layer"]["bias"], 0.0)
            arrays = {
                name: hidden @ own[name]["kernel"] + own[name]["bias"]
                for name in ("down", "up", "down_bias", "up_bias")
            }
            size = len(arrays["down_bias"])
            for name in ("down", "up"):
                arrays[name] = arrays[name].reshape(size, -1)
            adapters.append(arrays)
        layers.append({k: np.stack([a[k] for a in adapters]) for k in adapters[0]})
    return {k: np.stack([layer[k] for layer in layers]) for k in layers[0]}


def code_of(own, hidden):
    """The code of one input whose tokens are encoded as ``[S, D]``."""
    code = np.asarray(hidden, np.float64).mean(axis=0)
    if "mlp_wi" not in own:
        return code
    wi, wo = (jax.tree.map(np.asarray, own[f"mlp_{name}"]) for name in ("wi", "wo"))
    hidden = np.maximum(code @ wi["kernel"] + wi["bias"], 0.0)
    return hidden @ wo["kernel"] + wo["bias"]


def encoded_alone(full, params, batch):
    """Encodings ``[S, D]`` of every row by itself and without padding, first pass."""
    module, backbone = full.build(), model.HyperModel(TINY, None)
    plain = {k: v for k, v in params.items() if k != "hypernetwork"}

    @jax.jit
    def encode(params, plain, tokens):
        conditioning = conditioned(module, params, {})
        return backbone.apply(
            {"params": plain}, tokens[None, None], conditioning, method="encode"
        )[0].hidden[0, 0]

    rows = np.asarray(batch["encoder_tokens"])
    rows = rows.reshape(-1, rows.shape[-1])
    return [encode(params, plain, row[row != 0]) for row in rows]
