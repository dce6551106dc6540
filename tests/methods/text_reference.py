"""The trunk of text generators in numpy, and what its tests have in common."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperx import model
from hyperx.hypernetworks.conditioning import Conditioning

SIZES = dict(rank=3, code_width=8, head_width=6)


def trunk_size(text: int, layers: int, kinds: int, width: int, head: int) -> int:
    """Parameters in front of the heads; layers with biases, norms with both."""

    def mlp(out: int) -> int:
        return width * 4 * width + 4 * width + 4 * width * out + out

    code = text * width // 2 + width // 2 + (layers + kinds) * width // 4
    norms = 2 * (width // 2 + 2 * (width // 4)) + 3 * 2 * width
    return code + norms + 3 * mlp(width) + mlp(head)


def logits_of(full: model.ModelConfig, params, batch):
    module = full.build()
    return jax.jit(lambda p: module.apply({"params": p}, batch))(params)


def state_of(full: model.ModelConfig, params, batch):
    """The state of a batch's conditions."""
    module, tokens = full.build(), batch["condition_tokens"]
    return jax.jit(lambda p: module.apply({"params": p}, tokens, method="adapt"))(
        params
    )


def moved(params):
    """Parameters of a hypernetwork whose heads are no longer zero."""

    def move(leaf):
        return leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)

    return params | {"hypernetwork": jax.tree.map(move, params["hypernetwork"])}


def text_of(full: model.ModelConfig, params, batch) -> np.ndarray:
    """Each condition encoded alone, without padding, and averaged: ``[G, D]``."""
    module, rows = full.build(), []
    for tokens in np.asarray(batch["condition_tokens"]):
        encoded, _ = module.apply(
            {"params": params},
            jnp.array([[tokens[tokens > 0]]]),
            Conditioning(),
            method="encode",
        )
        rows.append(np.asarray(encoded.hidden)[0, 0].mean(axis=0))
    return np.stack(rows)


def head_inputs(trunk, variant: str, text: np.ndarray, layer: int, module: int):
    """What the heads read, ``[G, ..., head_width]``; `layer` counts both stacks."""

    def norm(x, name, tree=trunk):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return x * tree[name]["scale"] + tree[name]["bias"]

    def dense(x, tree):
        return x @ tree["kernel"] + tree["bias"]

    def mlp(x, tree):
        for name in ("wi", "wo"):
            x = dense(x, tree[name])
            x = x / (1 + np.exp(-x))
        return x

    def block(x, tree):
        return x + mlp(norm(x, "norm", tree), tree["mlp"])

    def row(name, number):
        own = norm(trunk[f"{name}_embedding"], f"{name}_embedding_norm")[number]
        return np.broadcast_to(own, (len(text), *own.shape))

    text = norm(dense(text, trunk["text"]), "text_norm")
    code = np.concatenate([text, row("layer", layer), row("module", module)], axis=-1)
    x = block(mlp(code, trunk["mixer"]), trunk["first_block"])
    if variant != "L":
        x = x[:, None] + row("factor", slice(2 * module, 2 * module + 2))
    x = block(x, trunk["second_block"])
    if variant == "S":
        units = block(row("unit", slice(None)), trunk["second_block"])
        x = x[:, :, None] + units[:, None]
    return mlp(norm(x, "head_norm"), trunk["head_mlp"])
