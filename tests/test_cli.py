"""The command line: what each command calls, and how it reports errors."""

import importlib
import shlex
import subprocess
import sys
import types

import pytest

from hyperx import cli
from hyperx.data import startup
from hyperx.runs import configuration, gin_files

COMMANDS = ["train", "eval", "infer", "adapt", "tune", "inspect", "import", "demo"]
COMMANDS += ["cache", "data", "export", "plan", "cost", "serve"]


@pytest.fixture(autouse=True)
def _without_tensorflow(monkeypatch):
    monkeypatch.setattr(startup, "prepare_tensorflow", lambda: None)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "some.gin"
    path.write_text("STEPS = 1\nMODEL_DIR = %gin.REQUIRED\n")
    return path


@pytest.fixture
def calls(monkeypatch):
    """Records configured calls, and the macros they would see, in place of runs."""
    made = []

    def call(name, **arguments):
        macros = {key: configuration.macro(key) for key in ("STEPS", "MODEL_DIR")}
        made.append((name.removeprefix("hyperx.runs."), arguments, macros))
        last = {"step": 7, "total_steps": macros["STEPS"]}
        return last if name == "hyperx.runs.train.train" else None

    monkeypatch.setattr(configuration, "call", call)
    return made


def _fake(monkeypatch, name, **functions):
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**functions))
    package, _, child = name.rpartition(".")
    parent = importlib.import_module(package)
    monkeypatch.setattr(parent, child, sys.modules[name], raising=False)


@pytest.mark.parametrize(
    ("command", "function"), [("train", "train.train"), ("eval", "evaluate.evaluate")]
)
def test_a_run_is_called_with_its_configuration(calls, config, command, function):
    argv = [command, f"--gin_file={config}", "--gin.STEPS=5"]
    assert cli.main([*argv, "--gin.MODEL_DIR='out'"]) == 0
    assert cli.main([*argv, "--gin_bindings=STEPS=6", "--model_dir=out"]) == 0
    assert calls == [
        (function, {}, {"STEPS": 5, "MODEL_DIR": "out"}),
        (function, {}, {"STEPS": 6, "MODEL_DIR": "out"}),
    ]


@pytest.mark.parametrize(("steps", "code"), [(7, 0), (6, 0), (8, 143)])
def test_a_run_that_ended_early_exits_as_shells_tell_sigterm(
    calls, config, steps, code
):
    argv = ["train", f"--gin_file={config}", "--model_dir=out"]
    assert cli.main([*argv, f"--gin.STEPS={steps}"]) == code
    assert len(calls) == 1


def test_search_paths_may_be_joined_or_repeated(calls, config):
    found = f"--gin_search_paths=nowhere,{config.parent}"
    assert cli.main(["train", "--gin_file=some.gin", found]) == 0
    assert cli.main(["train", "--gin_file=some.gin", found, found]) == 0
    assert len(calls) == 2


@pytest.mark.parametrize("flag", ["--model_dir={}", '--gin.MODEL_DIR="{}"'])
def test_a_trained_model_brings_its_configuration(calls, config, tmp_path, flag):
    configuration.parse([config], ["STEPS = 9"])
    configuration.write(tmp_path / "out")
    assert cli.main(["eval", flag.format(tmp_path / "out")]) == 0
    macros = {"STEPS": 9, "MODEL_DIR": str(tmp_path / "out")}
    assert calls == [("evaluate.evaluate", {}, macros)]


def test_infer_passes_what_is_given_and_fails_for_malformed_lines(monkeypatch):
    calls, malformed = [], iter([0, 0, 2])

    def infer(**given):
        calls.append(given)
        return next(malformed)

    _fake(monkeypatch, "hyperx.runs.infer", infer=infer)
    argv = ["infer", "--model_dir=out"]
    flags = ["--condition=Do it.", "--batch_size=4", "--step=7", "--vocabulary=bytes"]
    assert cli.main([*argv, *flags]) == 0
    given = {"model_dir": "out", "input": "-", "output": "-"}
    expected = dict(condition="Do it.", batch_size=4, step=7, vocabulary="bytes")
    decoding = dict(beams=3, length_penalty=0.5, returned=2)
    decoding |= dict(temperature=0.7, top_k=5, top_p=0.9, seed=-1)
    assert cli.main(argv + [f"--{k}={v}" for k, v in decoding.items()]) == 0
    assert cli.main(argv) == 1
    assert calls == [given | expected, given | decoding, given]


def test_inspect_passes_json_or_lists(calls, config, monkeypatch, capsys):
    assert cli.main(["inspect", f"--gin_file={config}", "--json"]) == 0
    assert calls[0][:2] == ("inspect.inspect", {"as_json": True})
    (config.parent / "methods").mkdir()
    (config.parent / "methods" / "a.gin").write_text("# What it does.\n")
    monkeypatch.setattr(gin_files, "CONFIGS", config.parent)
    assert cli.main(["inspect", "--list"]) == 0
    assert capsys.readouterr().out.split(maxsplit=1) == [
        "methods/a.gin",
        "What it does.\n",
    ]


def test_import_and_demo_pass_their_flags(monkeypatch):
    called = []
    _fake(
        monkeypatch,
        "hyperx.runs.importing",
        from_huggingface=lambda *args: called.append(args),
    )
    _fake(monkeypatch, "hyperx.runs.demo", demo=lambda *args: called.append(args))
    assert cli.main(["import", "--from=hf", "old", "--to=new"]) == 0
    assert cli.main(["demo", "--fast", "--seed=3"]) == 0
    assert called == [("old", "new"), ("demo", True, 3)]


def test_adapt_and_tune_pass_what_is_given(monkeypatch):
    called = []
    for name in ("adapt", "tune"):
        fake = {name: lambda **arguments: called.append(arguments)}
        _fake(monkeypatch, f"hyperx.runs.{name}", **fake)
    paths = ["--model_dir=m", "--output=o"]
    given = {"model_dir": "m", "output": "o"}
    assert cli.main(["adapt", *paths]) == 0
    assert cli.main(["adapt", *paths, "--condition=a b", "--condition=c"]) == 0
    assert called == [given, given | {"condition": ["a b", "c"]}]
    flags = ["--state=s", "--data=d", "--learning_rate=1e-3", "--steps=0"]
    assert cli.main(["tune", *paths, *flags, "--init=random"]) == 0
    numbers = {"learning_rate": 1e-3, "steps": 0}
    rest = {"state": "s", "data": "d", "init": "random", "compare": False}
    assert called[2] == given | numbers | rest


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("expected 1, got 2"), 1, "error: expected 1, got 2"),
        (
            FileNotFoundError(2, "No such file or directory", "x"),
            1,
            "error: No such file or directory: x",
        ),
        (FloatingPointError("loss is nan"), 1, "error: loss is nan"),
        (
            KeyError("x"),
            1,
            "error: KeyError: 'x' (run with --debug for the traceback)",
        ),
        (
            ValueError("bad\n  In call to configurable 'f' (<function f at 0x1>)"),
            1,
            "error: bad",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_message(monkeypatch, config, capsys, error, code, message):
    def fail(name, **arguments):
        raise error

    monkeypatch.setattr(configuration, "call", fail)
    argv = ["train", f"--gin_file={config}"]
    assert cli.main(argv) == code
    assert capsys.readouterr() == ("", f"hyperx: {message}\n")
    if code == 1:
        with pytest.raises(type(error)):
            cli.main([*argv, "--debug"])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--gin.STPES=5", "got STPES; did you mean STEPS?"),
        ("--gin.MODEL_DIR=out", "got MODEL_DIR=out"),
        ("--gin_file=nowhere.gin", "nowhere.gin in one of"),
    ],
)
def test_a_wrong_configuration_is_one_message(calls, config, capsys, flag, message):
    assert cli.main(["train", f"--gin_file={config}", flag]) == 1
    out, err = capsys.readouterr()
    assert (out, calls) == ("", [])
    assert err.startswith("hyperx: error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["train", "--gin_fil=x"],
        ["infer", "--batch_size=0"],
        ["import", "--from=tf", "old", "--to=new"],
        ["adapt", "--model_dir=m"],
        ["tune", "--model_dir=m", "--data=d", "--output=o"],
    ],
)
def test_a_wrong_flag_exits_with_usage(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert capsys.readouterr().err.startswith("usage: hyperx")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_by_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    example = text.partition("example:\n")[2]
    assert f"hyperx {command}" in example
    cli._parser().parse_args(cli._rewrite(_arguments(example, command)))


def _arguments(example, command):
    words = example.split(f"hyperx {command}", maxsplit=1)[1]
    return [command, *shlex.split(words)]


def test_help_imports_nothing_heavy():
    program = (
        "import contextlib, sys\n"
        "from hyperx import cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['--help'])\n"
        "heavy = {'tensorflow', 'jax', 'flax', 'seqio', 'gin', 'rich'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert all(f"\n    {command} " in result.stdout for command in COMMANDS)


def test_the_module_is_the_command_and_tensorflow_says_nothing(config):
    config.write_text("import tensorflow\n" + config.read_text())
    result = subprocess.run(
        [sys.executable, "-m", "hyperx", "eval", f"--gin_file={config}", "--gin.A=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    message = "expected a macro of the gin files, got A; known are MODEL_DIR, STEPS"
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"hyperx: error: {message}\n"


def test_what_tensorflow_says_is_shown_if_it_fails(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'chatter')\nraise ImportError('broken')\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from hyperx.data import startup\n"
        "startup.prepare_tensorflow()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.stderr.startswith("chatter")
    assert "ImportError: broken" in result.stderr
