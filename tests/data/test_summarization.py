"""XSum, CNN/DailyMail, WikiLingua: files read alike, texts and ROUGE by hand."""

import importlib
import json
import socket

import pyarrow as pa
import pytest
import seqio
from pyarrow import parquet

from hyperx.data import averages, records, summarization
from hyperx.tasks import summarization as summarization_tasks

HIGHLIGHTS = "A cat sat .\nIt left ."


def write(root, path, rows):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def xsum(*texts):
    return [{"document": t, "summary": f"{t}!", "id": "7"} for t in texts]


def rows_of(name, split):
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, split, shuffle=False)
    return list(dataset.as_numpy_iterator())


@pytest.fixture
def restore(monkeypatch):
    """Leaves the tasks as importing the module makes them."""
    monkeypatch.delenv("SUMMARIZATION_DIR", raising=False)
    yield
    summarization_tasks.register()


def test_layouts_are_read_alike(tmp_path):
    write(tmp_path, "hub/xsum/data/train-00000-of-00002.parquet", xsum("a", "b"))
    write(tmp_path, "hub/xsum/data/train-00001-of-00002.parquet", xsum("c"))
    write(tmp_path, "hub/xsum/data/validation-00000-of-00001.parquet", xsum("d"))
    write(tmp_path, "converted/xsum/default/train/0000.parquet", xsum("a", "b"))
    write(tmp_path, "converted/xsum/default/train/0001.parquet", xsum("c"))
    write(tmp_path, "lines/xsum/train.jsonl", xsum("a", "b", "c"))
    write(tmp_path, "lines/xsum/README.md", [])
    expected = tuple(
        summarization.Document(text=text, summary=f"{text}!") for text in "abc"
    )
    for layout in ("hub", "converted", "lines"):
        assert summarization.read(tmp_path / layout, "xsum", "train") == expected
    assert len(summarization.read(tmp_path / "hub", "xsum", "validation")) == 1


def test_seqio_tasks(tmp_path, restore):
    write(tmp_path, "xsum/train.jsonl", xsum("", *"abc"))
    cnn = [{"article": "The cat sat. It left.", "highlights": HIGHLIGHTS, "id": "x"}]
    write(tmp_path, "cnn_dailymail/3.0.0/train-00000-of-00001.parquet", cnn * 1024)
    write(tmp_path, "cnn_dailymail/3.0.0/test-00000-of-00001.parquet", cnn)
    write(tmp_path, "wiki_lingua/train.jsonl", [{"source": "s", "target": "t"}])
    names = summarization_tasks.register(tmp_path, vocabulary="bytes")
    assert names[-1] == "summarization"
    mixture = seqio.get_mixture_or_task("summarization")
    rates = [mixture.get_rate(seqio.get_mixture_or_task(name)) for name in names[:3]]
    assert rates == pytest.approx([4**0.1, 2, 1])
    empty, first, *_ = rows_of("summarization_xsum", "train")
    assert empty["inputs_pretokenized"] == b"summarize: "  # As XSum has some.
    assert first["inputs_pretokenized"] == b"summarize: a"
    assert first["prompt"].tolist() == first["inputs"].tolist()
    assert first["targets_pretokenized"] == b"a!"
    assert (first["task"], first["id"]) == (b"xsum", b"1")
    (row,) = rows_of("summarization_cnn_dailymail", "test")
    assert row["inputs_pretokenized"] == b"summarize: The cat sat. It left."
    task = seqio.get_mixture_or_task("summarization_cnn_dailymail")
    assert task.postprocess_fn("x", example=row, is_target=False) == "x"
    assert task.postprocess_fn("", example=row, is_target=True) == {
        "references": [HIGHLIGHTS],
        "task": "cnn_dailymail",
        "id": "0",
    }


def test_rouge_by_hand():
    targets = [{"references": [HIGHLIGHTS]}] * 2
    # Five words; said: 4, of which 3 in common; of 3 and 4 pairs, "cat sat". In order
    # are 2 ("cat sat"); line by line all 3, for "it" is found on its own.
    said = ["It cats sat.\nIt", "the same"]
    scores = summarization.rouge(targets[:1], ["It\ncats sat down"])
    assert scores == pytest.approx(
        {
            "rouge1": 100 * 2 * 3 / 9,
            "rouge2": 100 * 2 * 1 / 7,
            "rougeL": 100 * 2 * 2 / 9,
            "rougeLsum": 100 * 2 * 3 / 9,
        }
    )
    assert summarization.rouge(targets[:1], [HIGHLIGHTS.lower()])["rougeLsum"] == 100
    one, both = (summarization.rouge(targets[:n], said[:n])["rouge1"] for n in (1, 2))
    assert both == pytest.approx(one / 2)


def test_benchmarks_are_means_over_sets():
    benchmarks = {b.name: b for b in summarization_tasks.BENCHMARKS}
    assert set(benchmarks.values()) <= set(averages.registered())
    values = {
        name: {"rouge2": number, "rougeLsum": 0}
        for number, name in enumerate(summarization_tasks.NAMES.values())
    }
    assert benchmarks["summarization_rouge2"].of(values) == {"mean": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", ":1: expected JSON in UTF-8"),
        ({"document": "a"}, ":1: expected the key 'summary', got only"),
        ({"document": 1, "summary": "b"}, ":1: document: expected a string, got 1"),
        ({"document": "a", "summary": " "}, ":1: summary: expected a summary, got wh"),
    ],
)
def test_bad_lines_are_named_or_left_out(tmp_path, caplog, row, message):
    good = json.dumps({"document": "a", "summary": "b"})
    path = tmp_path / "xsum" / "train.jsonl"
    path.parent.mkdir()
    bad = row if isinstance(row, str) else json.dumps(row)
    path.write_text(f"{bad}\n{good}\n")
    with pytest.raises(records.MalformedRecord, match=r"train\.jsonl" + message):
        summarization.read(tmp_path, "xsum", "train")
    assert len(summarization.read(tmp_path, "xsum", "train", skip_malformed=True)) == 1
    assert str(path) in caplog.text
    path.write_text(f"{bad}\n")
    with pytest.raises(ValueError, match="expected documents in .*, got none"):
        summarization.read(tmp_path, "xsum", "train", skip_malformed=True)


def test_damaged_parquet_and_missing_columns(tmp_path):
    path = write(tmp_path, "xsum/train-00000-of-00001.parquet", xsum("a"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(records.MalformedRecord, match="train-0.*: expected Parquet"):
        summarization.read(tmp_path, "xsum", "train")
    write(tmp_path, "xsum/train-00000-of-00001.parquet", [{"document": "a"}])
    with pytest.raises(
        records.MalformedRecord, match=r"columns \['document', 'summary"
    ):
        summarization.read(tmp_path, "xsum", "train")


def test_importing_needs_neither_data_nor_network(restore, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    importlib.reload(summarization_tasks)
    task = seqio.get_mixture_or_task("summarization_xsum")
    how = "huggingface.co/datasets/EdinburghNLP/xsum.*SUMMARIZATION_DIR"
    with pytest.raises(FileNotFoundError, match=f"got neither.*{how}"):
        task.get_dataset(None, "train")
    monkeypatch.setenv("SUMMARIZATION_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"split 'train' in .*xsum.*{how}"):
        task.get_dataset(None, "train")
    with pytest.raises(ValueError, match="got 'cnn' and 'train'"):
        summarization.read(tmp_path, "cnn", "train")
