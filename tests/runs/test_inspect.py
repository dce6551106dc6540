"""Counts to the unit, from shapes alone."""

import json
import resource
import time

import pytest

from hyperx import cli, config
from hyperx.methods.hint import Hint, Quirks
from hyperx.methods.plain import Plain
from hyperx.runs.inspect import inspect

V1_1 = {
    "tiny": (64, 4 * 16, 2, 128),
    "base": (768, 768, 12, 2048),
    "xl": (2048, 2048, 24, 5120),
    "xxl": (4096, 4096, 24, 10240),
}
HEADS = {"tiny": 4, "base": 12, "xl": 32, "xxl": 64}


def t5_v1_1(size, vocabulary=32128):
    """Parameters by Raffel et al.'s description."""
    embed, joined, layers, mlp = V1_1[size]
    attention = 4 * embed * joined
    feed_forward = 3 * embed * mlp
    encoder = layers * (attention + feed_forward + 2 * embed)
    decoder = layers * (2 * attention + feed_forward + 3 * embed)
    tables = 2 * vocabulary * embed + 2 * 32 * HEADS[size]
    return encoder + decoder + tables + 2 * embed


def hint(size, bottleneck, prefix, cross_adapters=True):
    """Parameters of HINT's generator by Ivison et al.'s description."""
    embed, joined, layers, _ = V1_1[size]
    slots = 3 * layers
    adapters = slots if cross_adapters else 2 * layers
    queries = adapters * (2 * bottleneck + 2) + slots * 2 * prefix
    outputs = 3 * embed + bottleneck + 2 * joined
    return queries * embed + 4 * embed * joined + 6 * embed**2 + embed * outputs


@pytest.mark.parametrize("size", V1_1)
def test_backbones_have_their_published_sizes(size):
    found = inspect(backbone=config.t5_1_1(size), method=Plain(), as_json=True)
    expected = t5_v1_1(size)
    names = ("total", "trainable", "backbone", "hypernetwork")
    counts = [found["parameters"][name] for name in names]
    assert counts == [expected, expected, expected, 0]
    assert sum(found["parameters"]["components"].values()) == expected
    assert found["task_state"] is None
    published = {"base": 247_577_856, "xl": 2_849_757_184, "xxl": 11_135_332_352}
    assert published.get(size, expected) == expected


@pytest.mark.parametrize(
    ("size", "bottleneck", "prefix", "published"),
    [
        ("base", 64, 30, 14_149_632),
        ("xl", 512, 30, 224_100_352),
        ("xxl", 512, 30, 574_029_824),
    ],
)
def test_hint_has_its_published_sizes(size, bottleneck, prefix, published):
    sizes = dict(bottleneck=bottleneck, prefix_length=prefix)
    for unused, expected in (
        (True, published),
        (False, hint(size, bottleneck, prefix, cross_adapters=False)),
    ):
        method = Hint(**sizes, quirks=Quirks(unused_cross_adapters=unused))
        backbone = config.t5_1_1(size)
        found = inspect(backbone=backbone, method=method, as_json=True)["parameters"]
        assert found["hypernetwork"] == expected
        assert found["total"] == expected + t5_v1_1(size)


def test_a_task_state_has_the_size_of_what_is_generated():
    found = inspect(
        backbone=config.t5_1_1("tiny"),
        method=Hint(bottleneck=8, prefix_length=4),
        frozen=("(?!hypernetwork/)",),
        condition_length=100,
    )
    adapter = 2 * (2 * 8 * 64 + 8 + 64)  # two layers of weights and biases
    prefixes = 2 * (2 * 4 * 64)
    state = found["task_state"]
    assert state["encoder"]["numbers"] == adapter + prefixes
    assert state["decoder"]["numbers"] == adapter + 2 * prefixes
    assert state["memory"]["numbers"] == 2 * (2 * 100 * 64) + 100
    parts = ("encoder", "decoder", "memory")
    assert state["bytes"] == sum(state[part]["bytes"] for part in parts)
    assert state["memory"]["bytes"] == 4 * 2 * (2 * 100 * 64) + 100
    assert found["parameters"]["trainable"] == found["parameters"]["hypernetwork"]


@pytest.mark.parametrize("size", ["xl", "xxl"])
def test_published_models_are_counted_in_seconds_and_without_memory(size, capsys):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    quirk = "--gin.hint.Quirks.unused_cross_adapters=True"
    argv = ["inspect", f"--gin_file=models/hint_{size}.gin", "--json", quirk]
    assert cli.main(argv) == 0
    assert time.process_time() - start < 60
    # KiB; importing TensorFlow takes most of it.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
    found = json.loads(capsys.readouterr().out)
    published = {"xl": 224_100_352, "xxl": 574_029_824}
    assert found["parameters"]["hypernetwork"] == published[size]


def test_a_table_for_people(capsys):
    method = Hint(bottleneck=8, prefix_length=4)
    inspect(backbone=config.t5_1_1("tiny"), method=method)
    out = " ".join(capsys.readouterr().out.split())
    assert "Hint: parameters" in out
    assert f"{t5_v1_1('tiny'):,}" in out
    assert "condition of 1,024 tokens, float32" in out
