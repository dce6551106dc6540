"""Every gin file that is shipped is a configuration that can be called."""

import pytest

from hyperx.data import startup
from hyperx.runs import configuration, gin_checks, gin_files, train

CONFIGS = gin_files.CONFIGS
# Those of t5x include its own; `tests/t5x_plugin` runs them.
FILES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob("*.gin")
    if path.parent.name != "t5x"
)
TOYWORLD, HINT = "runs/toyworld.gin", "methods/hint.gin"
WHOLE_RUNS = (TOYWORLD, "runs/super_ni.gin", "runs/c4.gin")
TINY = "backbones/t5_1_1_tiny.gin"


def completed(file):
    """A file and what it needs beside it to be a whole run."""
    room = file.partition("/")[0]
    if file == "runs/super_ni.gin":
        return [file, TINY, HINT]
    if file == TOYWORLD:
        return [file, HINT]
    if room == "models":
        return [file]
    if room == "methods":
        return [TOYWORLD, file]
    if file == "data/super_ni.gin":
        return ["runs/super_ni.gin", TINY, HINT, file]
    if "c4" in file:
        return ["runs/c4.gin", TINY, HINT, file]
    if file == "backbones/t5_1_1.gin":
        return [TOYWORLD, HINT, file, TINY]
    return [TOYWORLD, HINT, file]


@pytest.fixture(autouse=True)
def _silent():
    startup.prepare_tensorflow()


@pytest.mark.parametrize("file", FILES)
def test_a_shipped_file_makes_a_whole_run(file):
    bindings = ["MODEL_DIR='out'"]
    if file == "objectives/distillation.gin":
        bindings.append("TEACHER='teacher'")
    configuration.parse(completed(file), bindings)
    assert gin_checks.missing(train.train, {}) == []
    backbone, method = configuration.macro("BACKBONE"), configuration.macro("METHOD")
    assert method.hypernetwork(backbone) is not None or method.reads != "condition"
    assert backbone.vocab_size == configuration.macro("VOCAB_SIZE")


@pytest.mark.parametrize("file", FILES)
def test_a_shipped_file_opens_with_what_it_is(file):
    first = (CONFIGS / file).read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("# ")
    if file.startswith("models/") or file in WHOLE_RUNS:
        assert "#   hyperx train --gin_file=" in (CONFIGS / file).read_text()
