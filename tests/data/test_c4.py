"""C4 from local files: what is found, and the seqio tasks made of it."""

import gzip
import json
import logging

import numpy as np
import pytest
import seqio

from hyperx.data import examples, startup, vocabularies
from hyperx.data.c4 import files as c4
from hyperx.tasks import c4 as tasks

NAMES = ("c4_prefix_lm", "c4_caclm")
FIRST = "abcdefghij" * 20  # bytes: windows of 128 and 72
SECOND = "A short one."
THIRD = "Voilà, été. " * 8


def write(path, texts):
    lines = "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write(lines)


@pytest.fixture
def root(tmp_path):
    """Two training files, one packed, and one to validate on."""
    write(tmp_path / "c4-train.00000-of-00002.json.gz", [FIRST, SECOND])
    write(tmp_path / "c4-train.00001-of-00002.jsonl", [THIRD])
    write(tmp_path / "c4-validation.00000-of-00001.json", [SECOND * 10])
    (tmp_path / "README.md").write_text("not read")
    return tmp_path


@pytest.fixture(autouse=True)
def _restored():
    """Leaves the seqio registry as importing the module makes it."""
    startup.prepare_tensorflow()
    yield
    tasks.register()


def read(name, split="train"):
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, split, shuffle=False)
    return list(dataset.as_numpy_iterator())


def test_files_are_read_in_order(root):
    assert [*c4.texts(c4.files(root, "train"))] == [FIRST, SECOND, THIRD]
    assert [*c4.texts(c4.files(root, "validation"))] == [SECOND * 10]


def test_what_is_missing_is_named(root, monkeypatch):
    monkeypatch.delenv("C4_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="neither.*nor C4_DIR.*allenai/c4"):
        c4.files(None, "train")
    monkeypatch.setenv("C4_DIR", str(root / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere, found none.*allenai/c4"):
        c4.files(None, "train")
    monkeypatch.setenv("C4_DIR", str(root))
    assert len(c4.files(None, "train")) == 2
    (root / "c4-validation.00000-of-00001.json").unlink()
    with pytest.raises(FileNotFoundError, match="with 'validation' in the name"):
        c4.files(root, "validation")
    with pytest.raises(ValueError, match="got 'test'"):
        c4.files(root, "test")


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"text": 3}', "3"])
def test_a_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' + line + "\n")
    with pytest.raises(c4.MalformedLine, match=r"a\.jsonl:2: .*expected"):
        list(c4.texts([path]))


def test_prefix_lm_gives_back_the_documents(root, caplog):
    tasks.register(root, vocabulary="bytes", window=128)
    with caplog.at_level(logging.INFO, logger="hyperx.data.c4.files"):
        rows = read("c4_prefix_lm")
    assert [row["id"] for row in rows] == [b"0/0", b"0/1", b"2/0"]
    vocabulary = vocabularies.get("bytes")
    text = FIRST + THIRD
    parts = ("condition", "inputs", "targets")
    assert all(row[name][-1] == 1 for row in rows for name in (*parts, "prompt"))
    tokens = [t for row in rows for name in parts for t in row[name][:-1]]
    assert vocabulary.decode(tokens) == text
    for row in rows:
        assert [*row["condition"][:-1], *row["inputs"]] == [*row["prompt"]]
    left = len(SECOND)
    total = sum(len(t.encode()) for t in (FIRST, SECOND, THIRD))
    assert f"3 documents of C4; {left} of {total} tokens left out" in caplog.text


def test_caclm_marks_the_gap_by_the_first_sentinel(root):
    tasks.register(root, vocabulary="bytes", window=128)
    for row in read("c4_caclm"):
        for name in ("condition", "prompt"):
            assert (row[name] == 383).sum() == 1
        assert not {383} & {*row["inputs"], *row["targets"]}
    tasks.register(root, vocabulary="bytes", window=128, gap_token=2)
    assert all((row["condition"] == 2).sum() == 1 for row in read("c4_caclm"))


def test_a_vocabulary_without_sentinels_needs_a_gap_token(root):
    tasks.register(root, vocabulary="toyworld")
    with pytest.raises(ValueError, match="expected a gap token for WordVocabulary"):
        read("c4_caclm")


def test_options(root):
    with pytest.raises(ValueError, match="at least 64 tokens, got 32"):
        tasks.register(root, vocabulary="bytes", window=32)
    tasks.register(root, vocabulary="bytes", window=128, max_documents=2)
    first = read("c4_prefix_lm")
    assert [row["id"] for row in first] == [b"0/0", b"0/1"]
    tasks.register(root, vocabulary="bytes", window=128, max_documents=2, seed=1)
    other = read("c4_prefix_lm")
    assert [len(r["condition"]) for r in first] != [len(r["condition"]) for r in other]


def test_default_tasks_need_data_only_when_read(monkeypatch):
    monkeypatch.delenv("C4_DIR", raising=False)
    tasks.register(vocabulary="bytes")
    with pytest.raises(FileNotFoundError, match="C4_DIR"):
        read("c4_prefix_lm")


def test_the_metric_compares_continuations():
    scores = tasks.continuation(["a b c d", "e"], ["a b x x", "f"])
    assert scores == {"rougeL": pytest.approx(25.0)}


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("c4_prefix_lm", dict(condition=512, inputs=512, prompt=512, targets=512)),
        ("c4_caclm", dict(condition=512, inputs=129, prompt=512, targets=129)),
    ],
)
def test_real_documents_fit_the_shipped_lengths(data_dir, name, lengths):
    model = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    if not model.is_file() or not (data_dir / "c4").is_dir():
        pytest.skip("no C4 at hand")
    tasks.register(data_dir / "c4", vocabulary=str(model))
    loaded = examples.load(name, "train", feature_lengths=lengths, progress=False)
    assert set(loaded.truncated.values()) == {0}
    assert len(loaded) > 400
    if name == "c4_caclm":
        gaps = loaded.features["condition"].tokens == 32_099
        assert gaps.sum() == len(loaded)
        assert not np.any(loaded.features["targets"].tokens == 32_099)
