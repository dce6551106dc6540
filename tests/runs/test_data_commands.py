"""`hyperx data show`, `hyperx data stats` and `hyperx cache`, as a user calls them."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import seqio

from hyperx import cli
from hyperx.data import browser
from hyperx.runs import data

MODULE = """
import seqio
import tensorflow as tf

FEATURE = seqio.Feature(seqio.ByteVocabulary(0), add_eos=True)
CHOICES = ["yes", "[bold]no"]


def add(name, texts):
    columns = {
        "inputs": texts,
        "targets": ["yes"] * len(texts),
        "choices": [CHOICES] * len(texts),
        "answer": [0] * len(texts),
        "id": [f"{name}-{i}" for i in range(len(texts))],
    }

    def dataset(split, shuffle_files):
        return tf.data.Dataset.from_tensor_slices(columns)

    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=["train"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={"inputs": FEATURE, "targets": FEATURE},
    )


add("shop_long", ["abcdefghij", "y" * 2000])
add("shop_short", ["[/a]"] * 6)
seqio.MixtureRegistry.add("shop", [("shop_long", 3), ("shop_short", 1)])
"""
LENGTHS = "--gin.TASK_FEATURE_LENGTHS={'inputs': 8, 'targets': 8}"
SHOP = ["--module=my_shop_tasks"]


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "my_shop_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    folders = list(seqio.get_global_cache_dirs())
    yield
    seqio.set_global_cache_dirs(folders)
    if sys.modules.pop("my_shop_tasks", None):
        seqio.MixtureRegistry.remove("shop")
        seqio.TaskRegistry.remove("shop_long")
        seqio.TaskRegistry.remove("shop_short")


def run(capsys, *argv):
    """What a command prints, its white space closed up."""
    code = cli.main(list(argv))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return " ".join(printed.out.split())


def test_show_prints_rows_as_models_read_them(capsys):
    text = run(capsys, "data", "show", "shop", "-n", "3", *SHOP, LENGTHS)
    titles = ["shop_long · train 1/3 · shop_long-0", "shop_long · train 2/3 ·"]
    titles.append("shop_short · train 3/3 · shop_short-0")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    # Seven bytes and the end of sequence are read.
    assert "inputs 11/8 abcdefg [cut here: 3 more tokens] hij targets 4/8 yes" in text
    assert "[... 1,293 characters ...]" in text
    assert "inputs 5/8 [/a]" in text
    assert "choices → yes [bold]no" in text
    # 11, 2,001 and 5 tokens: two are cut, 3 of 24 places are padding.
    assert "inputs 11 2,001 2,001 2,001 8 66.7 % 12.5 %" in text


def test_show_may_print_all_and_knows_gin_files(capsys):
    text = run(capsys, "data", "show", "shop_long", "-n2", "--full", *SHOP)
    assert "y" * 2000 in text.replace(" ", "")
    assert "cut" not in text
    text = run(
        capsys, "data", "show", "--gin_file=data/toyworld.gin", "--split=test", "-n1"
    )
    assert text.startswith("toyworld · test 1/1 ·")
    assert "/14 " in text  # the length of prompts there


def test_stats_counts_and_draws(capsys, tmp_path):
    out = tmp_path / "stats"
    text = run(capsys, "data", "stats", "shop", *SHOP, LENGTHS, f"--output={out}")
    assert "shop · train · 8 rows, 2 tasks" in text
    assert "shop_long 2 25.00 % 75.00 % 3.00 x" in text
    assert "shop_short 6 75.00 % 25.00 % 0.33 x" in text
    assert "inputs 5 2,001 2,001 2,001 8 25.0 % 28.1 %" in text
    found = json.loads((out / "shop-train.json").read_text())
    assert found["rows"] == 8
    assert found["tasks"]["shop_long"] == {"rows": 2, "mixing_rate": 0.75}
    assert found["features"]["inputs"] == {
        "mean": (11 + 2001 + 6 * 5) / 8,
        "percentiles": {"50": 5, "90": 2001, "99": 2001},
        "longest": 2001,
        "limit": 8,
        "cut": 2,
        "padding": 1 - (2 * 8 + 6 * 5) / 64,
    }
    assert (out / "shop-train.png").read_bytes().startswith(b"\x89PNG")


def test_a_cache_is_written_and_read(capsys, tmp_path):
    argv = ["cache", "shop", *SHOP, f"--output={tmp_path / 'cache'}"]
    text = run(capsys, *argv)
    assert text.startswith("shop: splits written: 2 (8 rows), there before: 0")
    assert "splits written: 0 (0 rows), there before: 2" in run(capsys, *argv)
    assert (tmp_path / "cache" / "shop_short" / "COMPLETED").exists()
    cached = [
        f"--gin.CACHE_DIR={str(tmp_path / 'cache')!r}",
        "--gin.USE_CACHED_TASKS=True",
    ]
    plain = run(capsys, "data", "stats", "shop", *SHOP)
    assert run(capsys, "data", "stats", "shop", *SHOP, *cached) == plain
    shown = run(capsys, "data", "show", "shop_short", *SHOP, *cached)
    assert shown == run(capsys, "data", "show", "shop_short", *SHOP)


def test_percentiles_are_lengths_that_occur():
    lengths = browser.Lengths(tokens=np.array([1, 2, 3, 10]), limit=None)
    assert [lengths.percentile(p) for p in (50, 75, 99)] == [2, 3, 10]
    assert "padding" not in lengths.report()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["data", "show"], "expected a task or mixture (TASK or MIXTURE_OR_TASK_NAME)"),
        (["data", "show", "shpo", *SHOP], "got 'shpo'; did you mean shop"),
        (["data", "stats", "shop", "--split=dev", *SHOP], "got 'dev'"),
        (["data", "show", "shop", "--module=no_such"], "(PYTHONPATH), got no_such: No"),
        (["data", "show", "shop", *SHOP, "--gin.USE_CACHED_TASKS=True"], "got none in"),
        (["data", "show", "shop", *SHOP, "--gin.CACHE_DIR='no'"], "got no\n"),
        (["cache", "shop", *SHOP], "expected a folder (--output=DIR or CACHE_DIR)"),
        (["cache", "shop", *SHOP, "--output=/dev/null/x"], "expected to write a cache"),
        (["data", "show", "--model_dir=nowhere"], "gin file nowhere/config.gin in one"),
    ],
)
def test_errors_are_one_message(capsys, argv, message):
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hyperx: error: ")
    assert message in err


def test_rows_there_must_be(monkeypatch):
    monkeypatch.setattr(browser, "rows", lambda *args, **options: iter(()))
    with pytest.raises(ValueError, match="expected rows in shop, split 'train', got n"):
        data.show(mixture_or_task_name="shop")


def test_the_data_set_of_the_documentation(capsys, tmp_path, monkeypatch):
    page = pathlib.Path(__file__).parents[2] / "docs" / "data.md"
    text = page.read_text(encoding="utf-8")
    module = re.search(r"```python\n(# my_tasks.py\n.*?)```", text, re.DOTALL)[1]
    binding = re.search(r"```\n(from __gin__ .*?)```", text, re.DOTALL)[1]
    (tmp_path / "my_tasks.py").write_text(module)
    (tmp_path / "my_data.gin").write_text(binding)
    (tmp_path / "my_data").mkdir()
    line = re.search(r"`({\"instruction\".*?})`", text)[1]
    (tmp_path / "my_data" / "train.jsonl").write_text(f"{line}\n{line}\n")
    monkeypatch.chdir(tmp_path)
    argv = ["data", "show", "-n2", "--gin_file=my_data.gin", "--gin.VOCABULARY='bytes'"]
    shown = run(capsys, *argv)
    assert shown.startswith("my_task · train 1/2 · Sort. · 0")
    assert "condition 6/64 Sort. inputs 4/128 b a prompt 10/192 Sort. b a" in shown
    assert run(capsys, *argv[:3], "my_task", "--module=my_tasks") != ""
    sys.modules.pop("my_tasks")
    seqio.TaskRegistry.remove("my_task")
