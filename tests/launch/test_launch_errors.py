"""Topologies, and command lines that no launcher could run."""

import re

import launch_commands as c
import pytest

from launch import topology

# Shapes, and chips, machines and names of sizes, as Google Cloud lists them.
SLICES = [
    ("v4:2x2x1", 4, 1, "v4-8"),
    ("v4:4x4x8", 128, 32, "v4-256"),
    ("v5e:1x1", 1, 1, "v5litepod-1"),
    ("v5e:2x2", 4, 1, "v5litepod-4"),
    ("v5e:2x4", 8, 1, "v5litepod-8"),
    ("v5e:4x4", 16, 4, "v5litepod-16"),
    ("v5e:16x16", 256, 64, "v5litepod-256"),
    ("v5p:2x2x4", 16, 4, "v5p-32"),
    ("v5p:4x4x8", 128, 32, "v5p-256"),
    ("v5p:16x16x24", 6144, 1536, "v5p-12288"),
    ("v6e:2x4", 8, 1, "v6e-8"),
    ("v6e:8x16", 128, 32, "v6e-128"),
]


@pytest.mark.parametrize(("text", "chips", "hosts", "size"), SLICES)
def test_slices(text, chips, hosts, size):
    parsed = topology.parse(text)
    assert (parsed.chips, parsed.hosts, parsed.size) == (chips, hosts, size)
    assert str(parsed) == text


def test_gpus():
    assert topology.parse("V100:4") == topology.Gpus("V100", 4)


def test_usual_shapes_are_the_most_cubic():
    assert topology.parse("v5p:4x8x8").usual
    assert topology.parse("v4:8x8x12").usual
    assert not topology.parse("v5p:4x4x16").usual


@pytest.mark.parametrize(
    "text",
    ["v5p:4x4", "v5p:4x4x6", "v5p:8x4x4", "v4:16x16x20", "v5e:4x2", "v6e:", "v5p:4xx4"],
)
def test_no_such_slice(text):
    kind = text.partition(":")[0]
    with pytest.raises(ValueError, match=f"expected a shape of {kind}: .*got '{text}'"):
        topology.parse(text)


@pytest.mark.parametrize("text", ["v7:4x4", "h100", "h100:0", ":8", "8", ""])
def test_neither_tpus_nor_gpus(text):
    with pytest.raises(ValueError, match=f"expected TPUs of v4, .*got '{text}'"):
        topology.parse(text)


LOCAL = '--gin.MODEL_DIR="/tmp/out"'
WRONG = [
    ("tpu-vm", ["--name=Hint_XL"], "expected a name of at most 40 .* got 'Hint_XL'"),
    ("tpu-vm", ["--slices=2"], "expected no --slices for --to=tpu-vm, got 2"),
    ("tpu-vm", ["--topology=h100:8"], "expected a slice of TPUs, .* got h100:8"),
    ("tpu-vm", [LOCAL], "expected --gin.MODEL_DIR='\"gs://.*, got /tmp/out"),
    ("tpu-vm", ["--gin.MODEL_DIR=gs://b"], "expected text in quotes .* got gs://b"),
    ("tpu-vm", ["--gin_file=none.gin"], "expected a gin file .* got 'none.gin'"),
    ("tpu-vm", [f"--gin_file={c.ROOT}/gin/runs/run.gin"], "expected a gin file .*"),
    ("tpu-vm", ["--gin.X='a\nb'"], "expected arguments of one line, got .*"),
    ("xpk", ["--spot"], "expected no --spot for --to=xpk, got True"),
    ("jobset", ["--topology=v6e:2x4"], "expected slices of several .* 2 x v6e:2x4"),
    ("skypilot", ["--slices=2"], "expected one slice for --to=skypilot, .* got 2"),
    ("skypilot", ["--topology=v5p:4x4x16"], "expected the usual .* got v5p:4x4x16"),
    ("skypilot", ["--topology=gpu:8"], "expected GPUs by name .* got gpu:8"),
    ("slurm", ["--topology=v4:4x4x4"], "expected the GPUs of a node .* got v4:4x4x4"),
    ("slurm", ["--steps=create"], "expected steps of run, delete, got create"),
]


@pytest.mark.parametrize(("to", "more", "message"), WRONG)
def test_errors_say_both_sides(to, more, message, capsys):
    said = c.error(capsys, *c.arguments(to, *more))
    assert re.match(f"launch: error: {message}", said, re.S), said


@pytest.mark.parametrize(
    ("to", "name"), [("tpu-vm", "zone"), ("xpk", "cluster"), ("jobset", "image")]
)
def test_what_a_launcher_needs(to, name, capsys):
    argv = [part for part in c.arguments(to) if not part.startswith(f"--{name}=")]
    expected = f"launch: error: expected --{name} for --to={to}, got none\n"
    assert c.error(capsys, *argv) == expected


def test_results_must_outlive_machines(capsys):
    argv = [part for part in c.arguments("xpk") if "MODEL_DIR" not in part]
    assert c.error(capsys, *argv).endswith("go with them, got none\n")


def test_something_must_run(capsys):
    argv = [part for part in c.arguments("slurm") if "gin_file" not in part]
    assert c.error(capsys, *argv) == "launch: error: expected --gin_file, got none\n"
