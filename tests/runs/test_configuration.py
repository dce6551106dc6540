"""Configuration: what is found, what is called, and what is refused."""

import sys
import types

import pytest

from hyperx.runs import configuration, gin_files

RUN = """# A run.
from __gin__ import dynamic_registration
import configuration_test_model as model
from configuration_test_run import train as runs
include 'parts/model.gin'
STEPS = 10
MODEL_DIR = %gin.REQUIRED
runs.run.steps = %STEPS
runs.run.model = %MODEL
runs.run.model_dir = %MODEL_DIR
runs.look.model = %MODEL
"""

MODEL = """
from __gin__ import dynamic_registration
import configuration_test_model
MODEL = @configuration_test_model.Model()
WIDTH = 4
configuration_test_model.Model.width = %WIDTH
configuration_test_model.Model.activation = @configuration_test_model.relu
wide/configuration_test_model.Model.width = 99
"""


class Model:
    def __init__(self, width, activation, lengths=None):
        self.width, self.activation, self.lengths = width, activation, lengths


def relu(x):
    return max(x, 0)


def run(steps, model, model_dir, seed=0):
    return steps, model, model_dir, seed


def look(model, depth=1):
    return model, depth


def alone(answer=42):
    return answer


def needy(answer):
    return answer


def _module(name, *members):
    module = types.ModuleType(name)
    for member in members:
        member.__module__ = name
        setattr(module, member.__name__, member)
    sys.modules[name] = module
    return module


_module("configuration_test_model", Model, relu)
_train = _module("configuration_test_run.train", run, look, alone, needy)
_module("configuration_test_run").train = _train
CALL = "configuration_test_run.train"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A search path that holds the two files, and an empty working directory."""
    (tmp_path / "gin" / "parts").mkdir(parents=True)
    (tmp_path / "gin" / "run.gin").write_text(RUN)
    (tmp_path / "gin" / "parts" / "model.gin").write_text(MODEL)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "gin"


def _parse(folder, *bindings, files=("run.gin",), **options):
    configuration.parse(files, bindings, [folder], **options)


def test_files_and_bindings_make_one_configured_call(folder):
    _parse(folder, 'MODEL_DIR = "out"', "STEPS=20", "Model.lengths = {'inputs': 5}")
    steps, model, model_dir, seed = configuration.call(f"{CALL}.run", seed=3)
    assert (steps, model_dir, seed) == (20, "out", 3)
    assert (model.width, model.lengths) == (4, {"inputs": 5})
    assert model.activation(-1) == 0
    assert configuration.macro("STEPS") == 20
    assert configuration.macro("MODEL").width == 4
    assert configuration.macro("ABSENT") is None


def test_a_later_file_overrides_and_parsing_starts_afresh(folder):
    (folder / "small.gin").write_text("WIDTH = 2\n")
    _parse(folder, files=("run.gin", "small.gin"), model_dir="out")
    assert configuration.call(f"{CALL}.run")[1].width == 2
    _parse(folder, model_dir="elsewhere")
    _, model, model_dir, _ = configuration.call(f"{CALL}.run")
    assert (model.width, model_dir) == (4, "elsewhere")


def test_names_resolve_as_paths_then_search_paths_then_package(folder, monkeypatch):
    package = folder.parent / "package"
    (package / "parts").mkdir(parents=True)
    monkeypatch.setattr(gin_files, "CONFIGS", package)
    (package / "parts" / "model.gin").write_text(MODEL.replace("WIDTH = 4", "WIDTH=5"))
    _parse(folder, model_dir="out")
    assert configuration.call(f"{CALL}.run")[1].width == 4
    configuration.parse([folder / "run.gin"], model_dir="out")
    assert configuration.call(f"{CALL}.run")[1].width == 5
    (folder.parent / "cwd" / "parts").symlink_to(folder / "parts")
    configuration.parse([folder / "run.gin"], model_dir="out")
    assert configuration.call(f"{CALL}.run")[1].width == 4


def test_a_saved_configuration_reads_the_same(folder):
    out = folder.parent / "out"
    lengths = {name: 1000 + len(name) for name in ("condition", "inputs", "targets")}
    _parse(folder, "STEPS = 7", f"Model.lengths = {lengths}", model_dir=out)
    before = configuration.call(f"{CALL}.run")
    configuration.write(out)
    saved = (out / "config.gin").read_text()
    configuration.parse([], [f'MODEL_DIR="{out}"'])
    after = configuration.call(f"{CALL}.run")
    assert vars(before[1]) == vars(after[1])
    assert (before[0], before[2:]) == (after[0], after[2:])
    configuration.write(out)
    assert (out / "config.gin").read_text() == saved
    assert "runs.run.seed = 0" in (out / "operative_config.gin").read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        "config.gin",
        "operative_config.gin",
    ]


def test_a_model_that_was_moved_is_found_where_it_is(folder):
    _parse(folder, model_dir="old")
    configuration.write("old")
    (folder.parent / "cwd" / "old").rename(folder.parent / "cwd" / "new")
    configuration.parse(model_dir="new")
    assert configuration.call(f"{CALL}.run")[2] == "new"


def test_only_what_a_call_depends_on_must_be_set(folder):
    _parse(folder)
    assert configuration.call(f"{CALL}.look")[0].width == 4
    assert configuration.call(f"{CALL}.run", model_dir="given")[2] == "given"
    with pytest.raises(ValueError, match=r"MODEL_DIR is required.*--gin.MODEL_DIR="):
        configuration.call(f"{CALL}.run")


def test_a_function_that_no_file_mentions_can_be_called(folder):
    _parse(folder)
    assert configuration.call(f"{CALL}.alone") == 42
    with pytest.raises(ValueError, match="train.needy needs a value for answer"):
        configuration.call(f"{CALL}.needy")
    assert configuration.call(f"{CALL}.needy", answer=1) == 1


def test_an_undefined_macro_is_named_with_its_reader(folder):
    (folder / "parts" / "model.gin").write_text("")
    _parse(folder, model_dir="out")
    with pytest.raises(ValueError, match=r"run.model reads MODEL, which has no value"):
        configuration.call(f"{CALL}.run")
    _parse(folder, "MODEL = 3", model_dir="out")
    assert configuration.call(f"{CALL}.run")[1] == 3


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("STPES=5", r"got STPES; did you mean STEPS\?"),
        ("NOTHING=5", "got NOTHING; known are MODEL, MODEL_DIR, STEPS, WIDTH"),
        ("run.stpes=5", r"named 'stpes'; did you mean steps"),
        (
            "train.rum.steps=5",
            "No configurable matching 'train.rum'; known are Model, ",
        ),
        ("MODEL_DIR=out", "quotes around text: .*, got MODEL_DIR=out"),
        ("STEPS", "expected NAME=VALUE, .*, got STEPS"),
        ("STEPS=[1,", r"expected NAME=VALUE, .*, got STEPS=\[1,"),
        ("run.steps=@nope()", "No configurable matching reference '@nope..'"),
    ],
)
def test_a_wrong_binding_is_explained(folder, binding, message):
    with pytest.raises(configuration.ConfigurationError, match=message):
        _parse(folder, binding)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include 'absent.gin'", r"(?s)a gin file absent.gin in one of .*cwd.*line 1"),
        ("import not_a_module", "No module named 'not_a_module'"),
        ("STEPS == 3", "bad.gin"),
        ("STEPS = [1,", "bad.gin: .*EOF"),
        ("unknown.name = 3", "No configurable matching 'unknown'"),
    ],
)
def test_a_wrong_file_is_explained(folder, text, message):
    (folder / "bad.gin").write_text(text)
    with pytest.raises(configuration.ConfigurationError, match=message):
        _parse(folder, files=("bad.gin",))


def test_a_missing_file_says_where_it_looked(folder, monkeypatch, capfd):
    monkeypatch.setattr(gin_files, "CONFIGS", folder)
    with pytest.raises(ValueError, match="expected a gin file rum.gin") as caught:
        _parse(folder, files=("rum.gin",))
    assert str(folder.parent / "cwd") in str(caught.value)
    assert "did you mean run.gin?" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_neither_file_nor_trained_model_is_refused(folder):
    with pytest.raises(ValueError, match="got neither"):
        configuration.parse()
    with pytest.raises(ValueError, match=r"got nowhere, which holds no config.gin"):
        configuration.parse(model_dir="nowhere")


def test_listing_shows_the_first_comment(folder, monkeypatch):
    monkeypatch.setattr(gin_files, "CONFIGS", folder.parent)
    assert gin_files.listing("gin") == {"gin/run.gin": "A run."}
    assert gin_files.listing("gin/parts") == {"gin/parts/model.gin": ""}
