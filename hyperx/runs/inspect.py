"""What a model consists of, from shapes alone."""

import collections
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from hyperx import model
from hyperx.config import T5Config
from hyperx.methods.method import Method
from hyperx.optim import freezing


def inspect(
    *,
    backbone: T5Config,
    method: Method,
    frozen: Sequence[str] = (),
    condition_length: int = 1024,
    as_json: bool = False,
) -> dict[str, Any]:
    """Prints parameter counts and the size of one task state; allocates nothing.

    Args:
        backbone: sizes of the T5.
        method: what adapts it.
        frozen: regular expressions of parameters that do not train.
        condition_length: tokens of the condition (I), for the size of its memory.
        as_json: print one JSON object instead of a table.

    Returns:
        ``parameters`` (``total``, ``trainable``, ``backbone``, ``hypernetwork`` and
        ``components``) and ``task_state`` (numbers and bytes by part).
    """
    config = model.ModelConfig(backbone=backbone, method=method)
    shapes = model.abstract_parameters(config).shapes
    trained, _ = freezing.split(shapes, frozen)
    total, hyper = _count(shapes), _count(shapes.get("hypernetwork", {}))
    found = {
        "backbone": {
            key: getattr(backbone, key)
            for key in ("embed_dim", "num_heads", "head_dim", "mlp_dim", "vocab_size")
        },
        "method": type(method).__name__,
        "parameters": {
            "total": total,
            "trainable": _count(trained),
            "backbone": total - hyper,
            "hypernetwork": hyper,
            "components": _components(shapes),
        },
        "task_state": _task_state(config, condition_length),
    }
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return found


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _components(shapes: Mapping[str, Any]) -> dict[str, int]:
    """Counts by the first two levels of the parameter tree."""
    counts: dict[str, int] = collections.Counter()
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        names = [str(key.key) for key in path]
        depth = 3 if names[0] == "hypernetwork" else 2
        counts["/".join(names[:depth])] += math.prod(leaf.shape)
    return dict(counts)


def _task_state(config: model.ModelConfig, length: int) -> dict[str, Any] | None:
    """Sizes of the state of one condition of `length` tokens; None if it is empty."""
    state = model.abstract_state(config, length)
    length = {"condition": length, "task": 1}.get(config.method.reads, 0)
    parts = {
        "encoder": state.encoder,
        "decoder": state.decoder,
        "memory": state.memory,
        "prompt": state.prompt,
    }
    if not state.nbytes:
        return None
    sizes = {
        name: {"numbers": _count(part), "bytes": _bytes(part)}
        for name, part in parts.items()
    }
    return {
        "condition_length": length,
        "dtype": config.backbone.dtype,
        "bytes": state.nbytes,
        **sizes,
    }


def _bytes(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _print(found: Mapping[str, Any]) -> None:
    console = Console(highlight=False)
    parameters = found["parameters"]
    table = Table(title=f"{found['method']}: parameters", title_justify="left")
    table.add_column("component")
    table.add_column("parameters", justify="right")
    for name, count in parameters["components"].items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    for name in ("backbone", "hypernetwork", "total", "trainable"):
        table.add_row(name, f"{parameters[name]:,}")
    console.print(table)
    state = found["task_state"]
    if state is None:
        return
    length = state["condition_length"]
    told = f"condition of {length:,} tokens" if length else "no condition"
    console.print(f"one task state: {told}, {state['dtype']}")
    table = Table()
    for name in ("part", "numbers", "MiB"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for name in ("encoder", "decoder", "memory", "prompt"):
        part = state[name]
        table.add_row(name, f"{part['numbers']:,}", f"{part['bytes'] / 2**20:.2f}")
    console.print(table)
