"""How t5x's Adafactor shall factor the second moments of hyperx's parameters."""

from hyperx import axes

# Rows are what generated and backbone weights are read from or added to, columns what
# they are made of. Ranks and tasks have few entries: moments along them stay whole.
_RULES: dict[str | None, str] = {
    axes.LAYERS: "batch",
    axes.EMBED: "row",
    axes.EMBED_OUT: "row",
    axes.JOINED_HEADS: "column",
    axes.HEADS: "column",
    axes.HEAD_DIM: "column",
    axes.MLP: "column",
    axes.HEAD_MLP: "column",
    axes.VOCAB: "column",
    axes.BOTTLENECK: "column",
    axes.QUERIES: "column",
    axes.PREFIX: "column",
    axes.RANK: "none",
    axes.TASKS: "none",
    axes.BUCKETS: "none",
    None: "row",  # an axis without a name
}


def factor_rules() -> dict[str | None, str]:
    """``row``, ``column``, ``batch`` or ``none`` for every axis of a parameter.

    For ``t5x.adafactor.Adafactor.logical_factor_rules``. t5x factors a stack of
    kernels by them, layer by layer; other parameters of one or two axes it factors
    along the larger two axes if both have 128 entries, as hyperx's Adafactor does.
    """
    return dict(_RULES)
