"""The legend: every axis letter and every logical axis name used in hyperx.

Einsum strings and docstrings use these letters and no others.

======  ==================  ====================================================
letter  logical name        axis
======  ==================  ====================================================
G       task                groups: distinct conditions in a batch
R       rows                rows (inputs) that share one condition
T       length              target or query positions
S       length              source or key positions
I       condition_length    condition positions
C       queries             learned queries of one sub-layer's generator
D       embed               model width
H       heads               attention heads
K       kv                  width of one head
F       mlp                 width of the feed-forward layer
V       vocab               vocabulary
L       layers              layers of one stack
M       bottleneck          adapter bottleneck
P       prefix              generated key/value positions, or prompt positions
N       rank                units of a low-rank update
======  ==================  ====================================================

A kernel that maps D to all heads at once has its output axis named ``joined_kv``.
Generator heads name their hidden axis ``head_mlp``, apart from the backbone's ``mlp``,
and a second axis of model width ``embed_out``, since a name may occur once per array.
Tables with a row for every known task have an axis named ``tasks``.
"""

GROUPS = "task"
TASKS = "tasks"
ROWS = "rows"
LENGTH = "length"
CONDITION_LENGTH = "condition_length"
QUERIES = "queries"
EMBED = "embed"
EMBED_OUT = "embed_out"
HEADS = "heads"
HEAD_DIM = "kv"
JOINED_HEADS = "joined_kv"
MLP = "mlp"
HEAD_MLP = "head_mlp"
VOCAB = "vocab"
LAYERS = "layers"
BOTTLENECK = "bottleneck"
PREFIX = "prefix"
RANK = "rank"
BUCKETS = "relpos_buckets"
