"""What computations cost: floating-point operations counted from the program itself.

Counted are matrix products, which all but make up the work of a transformer: a product
of ``[M, K]`` by ``[K, N]`` is ``2 M N K`` operations. The count is of the traced
program, layer loops included, so it holds for every method without a formula of its
own, and needs no values: shapes suffice.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from hyperx import model, sharding
from hyperx.hypernetworks.conditioning import Conditioning


def flops(fn: Callable, *arguments: Any) -> int:
    """Operations of `fn` in matrix products.

    Args:
        fn: a function of arrays.
        *arguments: trees of arrays or of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: if the number of iterations of a loop depends on values.
    """
    return _count(jax.make_jaxpr(fn)(*arguments).jaxpr)


@struct.dataclass
class Costs:
    """Operations of one use of a model.

    Attributes:
        task: once per condition: read it and write the weights.
        example: once per input: encode it and read its target, with those weights.
    """

    task: int
    example: int


def of_model(
    config: model.ModelConfig, *, condition: int, inputs: int, targets: int
) -> Costs:
    """Operations per task and per example, without allocating parameters.

    Args:
        config: of the model.
        condition: tokens of the condition (I); not read by models that read none.
        inputs: tokens that the encoder reads (S).
        targets: tokens that the decoder reads (T).
    """
    module = config.build()
    params = model.abstract_parameters(config).shapes
    length = {"condition": condition, "task": 1}.get(config.method.reads)
    tokens = None if length is None else jax.ShapeDtypeStruct((1, length), jnp.int32)
    batch = {
        "encoder_tokens": jax.ShapeDtypeStruct((1, 1, inputs), jnp.int32),
        "decoder_input_tokens": jax.ShapeDtypeStruct((1, 1, targets), jnp.int32),
    }

    def adapt(params: Any, tokens: Any) -> Any:
        return module.apply({"params": params}, tokens, method="adapt")

    def forward(params: Any, batch: Any, state: Any) -> jax.Array:
        conditioning = Conditioning.of(state)
        return module.apply({"params": params}, batch, conditioning, method="forward")

    with sharding.use(sharding.make_mesh(1, 1, devices=jax.devices()[:1])):
        state = model.abstract_state(config, condition)
        return Costs(
            task=flops(adapt, params, tokens),
            example=flops(forward, params, batch, state),
        )


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total += _product(equation)
        elif name == "while":
            raise ValueError("expected loops of known length, got a while loop")
        elif name == "cond":
            total += max(_count(branch) for branch in _inner(equation))
        else:
            times = equation.params["length"] if name == "scan" else 1
            total += times * sum(_count(inner) for inner in _inner(equation))
    return total


def _product(equation: Any) -> int:
    """Operations of one product: two for every pair of numbers that meet."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    met = math.prod(left[axis] for axis in contracted)
    return 2 * met * math.prod(equation.outvars[0].aval.shape)


def _inner(equation: Any) -> Iterator[Any]:
    """The programs inside an operation: of a loop, a branch, a compiled function."""
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner
