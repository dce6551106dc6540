"""Parameters of ours and where t5x keeps them: the same names, but for the layers.

=========================  ==================================  ======================
ours, stacked              t5x, unrolled                       t5x, scanned
=========================  ==================================  ======================
``encoder/layers/X``       ``encoder/layers_0/X``, ...         ``encoder/encoder/X``
``[L, ...]``               ``[...]`` each                      ``[D, L, ...]``
=========================  ==================================  ======================

and so for the decoder. A hypernetwork keeps its names and its stacks.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding

STACKS = ("encoder", "decoder")
TABLE = "token_embedder/embedding"
HEAD = "decoder/logits_dense/kernel"


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where t5x keeps one parameter of ours.

    Attributes:
        names: of their arrays.
        shape: of each of them.
        stack: whether they are the layers, to be stacked.
        swap: whether the layers are the second axis, to become the first.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    stack: bool = False
    swap: bool = False

    def sharding(self, ours: Sharding) -> Sharding:
        """How to lay out theirs so that putting them together moves nothing."""
        if not isinstance(ours, NamedSharding) or not (self.stack or self.swap):
            return ours
        first, second, *rest = (*ours.spec, None, None)
        spec = (second, first, *rest) if self.swap else (second, *rest)
        return NamedSharding(ours.mesh, PartitionSpec(*spec[: len(self.shape)]))


def origin(path: str, shape: tuple[int, ...], *, scanned: bool) -> Origin:
    """Where t5x keeps the parameter of ours at `path`.

    Args:
        path: joined by ``/``.
        shape: of ours.
        scanned: whether the checkpoint is of t5x's scanned network.
    """
    stack, _, rest = path.partition("/layers/")
    if stack not in STACKS:
        return Origin((path,), shape)
    if scanned:
        moved = (shape[1], shape[0], *shape[2:])
        return Origin((f"{stack}/{stack}/{rest}",), moved, swap=True)
    names = tuple(f"{layer(stack, i)}/{rest}" for i in range(shape[0]))
    return Origin(names, shape[1:], stack=True)


def layer(stack: str, number: int) -> str:
    """Where the parameters of one layer of the unrolled network lie."""
    return f"{stack}/layers_{number}"


def is_scanned(names: Iterable[str]) -> bool:
    """Whether these are the names of t5x's scanned network."""
    return any(name.startswith(f"{s}/{s}/") for name in names for s in STACKS)


def layers(shapes: Mapping[str, jax.ShapeDtypeStruct], stack: str) -> int:
    """How many layers the checkpoint has of a stack, by their normalisations."""
    scale = "pre_mlp_layer_norm/scale"
    if scanned := shapes.get(f"{stack}/{stack}/{scale}"):
        return scanned.shape[-1]
    return sum(bool(re.fullmatch(f"{stack}/layers_[0-9]+/{scale}", n)) for n in shapes)


def check_biases(names: Iterable[str]) -> None:
    """Checks that relative positions have one bias for each stack.

    Raises:
        ValueError: for those of t5x's network with a bias in every layer.
    """
    own = [n for n in names if re.fullmatch(r"\w+coder/\w+/relpos_bias/.*", n)]
    if own:
        raise ValueError(
            "expected relative position biases that all layers of a stack share, "
            f"encoder/relpos_bias/rel_embedding, got one for every layer, {own[0]}: "
            "that is another architecture, as of t5x's scalable_t5"
        )
