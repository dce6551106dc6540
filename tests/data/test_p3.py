"""Reading P3: its files, strictly, and what the real ones hold."""

import importlib
import os
import pathlib
import sys
import types

import pyarrow as pa
import pytest
from pyarrow import parquet

from hyperx.data import records
from hyperx.data.p3 import directories
from hyperx.data.p3 import hub as p3_hub
from hyperx.data.p3 import rows as p3_rows

REPOSITORY = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
    os.environ.get("HYPERX_TEST_DATA", REPOSITORY.parent / "shared" / "data")
)
P3 = DATA / "p3"

needs_data = pytest.mark.skipif(not P3.is_dir(), reason="no P3 at hand")


def write(root, name, rows):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def plain(*pairs):
    return [
        {"inputs_pretokenized": text, "targets_pretokenized": target, "inputs": [1]}
        for text, target in pairs
    ]


def ranked(example, text, choices, right):
    return [
        {
            "idx": [example, number],
            "inputs_pretokenized": text,
            "targets_pretokenized": choice,
            "is_correct": number in right,
            "weight": 1.0,
        }
        for number, choice in enumerate(choices)
    ]


@pytest.fixture
def root(tmp_path):
    """A training prompt in two files, and a ranked one."""
    name = "imdb_good/train-0000{}-of-00002.parquet"
    write(tmp_path, name.format(0), plain(("A?", " a\n"), ("B?", "b")))
    write(tmp_path, name.format(1), plain(("C?", "c"), ("D?", "<NO LABEL>")))
    rows = ranked(4, "E?", ["x", " y", "z"], {1}) + ranked(7, "F?", ["x", "y"], {0})
    name = "super_glue_rte_must_score_eval/validation-00000-of-00001.parquet"
    write(tmp_path, name, rows)
    (tmp_path / "promptsource_templates" / "imdb").mkdir(parents=True)
    return tmp_path


def read_ranked(tmp_path, rows, **options):
    name = "a_score_eval/validation-00000-of-00001.parquet"
    write(tmp_path, name, rows)
    folder = directories.open_directory(tmp_path)
    return folder.read("a_score_eval", "validation", **options)


def test_plain_rows(root, caplog):
    folder = directories.open_directory(root)
    assert folder.splits == {
        "imdb_good": ["train"],
        "super_glue_rte_must_score_eval": ["validation"],
    }
    assert folder.read("imdb_good", "train") == (
        p3_rows.Example(id="0", inputs="A?", targets="a"),
        p3_rows.Example(id="1", inputs="B?", targets="b"),
        p3_rows.Example(id="2", inputs="C?", targets="c"),
    )
    assert "left out 1 examples without an answer" in caplog.text


def test_choices_are_regrouped(root):
    folder = directories.open_directory(root)
    first, second = folder.read("super_glue_rte_must_score_eval", "validation")
    assert first == p3_rows.Example(
        id="4", inputs="E?", targets="y", choices=("x", "y", "z"), answer=1
    )
    assert (second.id, second.choices, second.answer) == ("7", ("x", "y"), 0)


def test_what_is_not_there(root, monkeypatch):
    monkeypatch.delenv("P3_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="neither `directory` nor P3_DIR"):
        directories.open_directory()
    with pytest.raises(FileNotFoundError, match="found none; download"):
        directories.open_directory(root / "nothing")
    with pytest.raises(ValueError, match=r"which has \['train'\], got 'test'"):
        directories.open_directory(root).read("imdb_good", "test")
    (root / "imdb_good" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="expected 2 files of .*imdb_good"):
        directories.open_directory(root)


def test_the_environment_names_the_folder(root, monkeypatch):
    monkeypatch.setenv("P3_DIR", str(root))
    assert "imdb_good" in directories.open_directory().splits


def test_malformed_rows_name_file_and_row(tmp_path, caplog):
    name = "a/train-00000-of-00001.parquet"
    write(tmp_path, name, plain(("A?", "a"), ("B?", " "), ("C?", "c")))
    folder = directories.open_directory(tmp_path)
    with pytest.raises(records.MalformedRecord, match=r"parquet, row 1: expected an"):
        folder.read("a", "train")
    kept = folder.read("a", "train", skip_malformed=True)
    assert [example.id for example in kept] == ["0", "2"]
    assert "1 malformed records left out" in caplog.text


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (ranked(0, "A?", ["x", "y"], set()), r"one right choice .*, got \[\]"),
        (ranked(0, "A?", ["x", "y"], {0, 1}), r"one right choice .*\['x', 'y'\]"),
        (ranked(0, "A?", ["x"], {0}), "two or more"),
        (ranked(0, "A?", ["x", "y"], {0})[1:], r"choices 0, 1, ... .* got \[1\]"),
        (
            ranked(0, "A?", ["x"], {0}) + ranked(0, "B?", ["x", "y"], {0})[1:],
            "one input for all choices",
        ),
    ],
)
def test_malformed_choices(tmp_path, caplog, rows, fault):
    good = ranked(1, "B?", ["x", "y"], {1})
    with pytest.raises(records.MalformedRecord, match="row 0: expected " + fault):
        read_ranked(tmp_path, rows + good)
    (kept,) = read_ranked(tmp_path, rows + good, skip_malformed=True)
    assert kept.id == "1"
    assert "1 malformed examples left out" in caplog.text


def test_choices_of_an_example_that_comes_twice(tmp_path):
    rows = [
        row for number in (0, 1, 0) for row in ranked(number, "A?", ["x", "y"], {0})
    ]
    with pytest.raises(records.MalformedRecord, match="example 0 together, got it"):
        read_ranked(tmp_path, rows)


def test_equal_choices_may_both_be_right(tmp_path):
    (example,) = read_ranked(tmp_path, ranked(0, "A?", ["x", "y", "y"], {1, 2}))
    assert example.answer == 1


@pytest.mark.parametrize("name", ["a", "a_score_eval"])
def test_damaged_files(tmp_path, name):
    path = write(tmp_path, f"{name}/train-00000-of-00001.parquet", plain(("A?", "a")))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(records.MalformedRecord, match="expected Parquet, got"):
        directories.open_directory(tmp_path).read(name, "train")


def test_columns_of_the_other_kind(tmp_path):
    write(tmp_path, "a_score_eval/train-00000-of-00001.parquet", plain(("A?", "a")))
    with pytest.raises(records.MalformedRecord, match=r"columns \['idx', "):
        directories.open_directory(tmp_path).read("a_score_eval", "train")


def test_the_hub_is_a_folder_elsewhere(root, monkeypatch):
    downloaded = []

    def list_repo_files(repository, repo_type):
        assert (repository, repo_type) == ("owner/P3", "dataset")
        return [p.relative_to(root).as_posix() for p in root.rglob("*.parquet")]

    def hf_hub_download(repository, name, repo_type):
        downloaded.append(name)
        return str(root / name)

    hub = types.SimpleNamespace(
        list_repo_files=list_repo_files, hf_hub_download=hf_hub_download
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    folder = directories.open_directory("hf:owner/P3")
    assert not downloaded
    assert folder.read("imdb_good", "train")[2].targets == "c"
    assert downloaded == [
        f"imdb_good/train-0000{number}-of-00002.parquet" for number in (0, 1)
    ]

    def unreachable(*arguments, **options):
        raise OSError("no route")

    hub.list_repo_files = unreachable
    with pytest.raises(FileNotFoundError, match="data set owner/P3 .* no route"):
        directories.open_directory("hf:owner/P3")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'hyperx\[hf\]'"):
        p3_hub.files("owner/P3")


@needs_data
def test_the_real_files():
    folder = directories.open_directory(P3)
    train = [name for name, splits in folder.splits.items() if "train" in splits]
    assert len(train) == 93
    assert sum(len(folder.read(name, "train")) for name in train) == 7_421
    copa = [name for name, splits in folder.splits.items() if "validation" in splits]
    assert len(copa) == 12
    examples = [e for name in copa for e in folder.read(name, "validation")]
    assert sum(len(example.choices) for example in examples) == 2_000


@needs_data
def test_real_examples_sign_for_sign():
    folder = directories.open_directory(P3)
    assert folder.read("qasc_is_correct_1", "train")[0] == p3_rows.Example(
        id="0",
        inputs=(
            "If I tell you that Beads of water can be formed by clouds, and ask you the"
            ' question "what type of water formation is formed by clouds?", is the'
            ' correct answer "pearls"?'
        ),
        targets="No",
    )
    name = "super_glue_copa__why_C1_or_C2_score_eval"
    assert folder.read(name, "validation")[1] == p3_rows.Example(
        id="6",
        inputs=(
            'I decided to stay home for the night. Why? "The forecast called for '
            'storms." or "My friends urged me to go out."?'
        ),
        targets="The forecast called for storms.",
        choices=("The forecast called for storms.", "My friends urged me to go out."),
        answer=0,
    )


def test_reading_needs_no_tensorflow():
    for name in ("files", "rows", "lists", "formats", "raw", "instruction"):
        path = importlib.import_module(f"hyperx.data.p3.{name}").__file__
        assert "tensorflow" not in pathlib.Path(path).read_text()
