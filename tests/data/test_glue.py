"""GLUE: texts sign for sign, and reading of files."""

import json

import pyarrow as pa
import pytest
import seqio
from pyarrow import parquet

from hyperx.data import records
from hyperx.data.glue import files as glue_files
from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import glue
from hyperx.data.glue import records as glue_records
from hyperx.tasks import glue as glue_task_module

PAIR = {"sentence1": "A cat.", "sentence2": "A dog."}
GOLDENS = [
    (
        glue.COLA,
        {"sentence": "Them sleeps.", "label": 0},
        ("cola sentence: Them sleeps.", "unacceptable", "0"),
    ),
    (
        glue.SST2,
        {"sentence": "a gem ", "label": 1},
        ("sst2 sentence: a gem ", "positive", "1"),
    ),
    (
        glue.MRPC,
        PAIR | {"label": 0},
        ("mrpc sentence1: A cat. sentence2: A dog.", "not_equivalent", "0"),
    ),
    (
        glue.QQP,
        {"question1": "Why?", "question2": "How?", "label": 1},
        ("qqp question1: Why? question2: How?", "duplicate", "1"),
    ),
    (
        glue.STSB,
        PAIR | {"label": 2.75},
        ("stsb sentence1: A cat. sentence2: A dog.", "2.8", "2.8"),
    ),
    (
        glue.MNLI,
        {"premise": "It rains.", "hypothesis": "It is wet.", "label": 2},
        ("mnli hypothesis: It is wet. premise: It rains.", "contradiction", "2"),
    ),
    (
        glue.QNLI,
        {"question": "Who?", "sentence": "Ann did.", "label": 0},
        ("qnli question: Who? sentence: Ann did.", "entailment", "0"),
    ),
    (
        glue.RTE,
        PAIR | {"label": 1},
        ("rte sentence1: A cat. sentence2: A dog.", "not_entailment", "1"),
    ),
    (
        glue.WNLI,
        PAIR | {"label": 1},
        ("wnli sentence1: A cat. sentence2: A dog.", "entailment", "1"),
    ),
]


@pytest.fixture(autouse=True)
def restore_tasks():
    yield
    glue_task_module.register()


def write(root, name, split, rows):
    folder = root / "glue" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder / f"{split}.jsonl"


def cola(count, label=lambda i: i % 2):
    return [
        {"sentence": f"It is {i}.", "label": label(i), "idx": i} for i in range(count)
    ]


def row_of(data_set, record, **options):
    question = data_set.parse(data_set, record | {"idx": 7}, "a:1")
    form = glue_format.Format(**options)
    (row,) = glue_format.rows([question], data_set, form, train=False)
    return row


@pytest.mark.parametrize(
    ("data_set", "record", "texts"), GOLDENS, ids=[g[0].name for g in GOLDENS]
)
def test_the_published_texts_sign_for_sign(data_set, record, texts):
    inputs, word, number = texts
    row = row_of(data_set, record)
    assert (row["inputs"], row["prompt"], row["targets"]) == (inputs, inputs, word)
    assert (row["condition"], row["task"]) == (data_set.name, f"glue_{data_set.name}")
    assert (row["references"], row["id"], row["group"]) == ([word], "7", "7")
    assert set(row) == {
        *("condition", "inputs", "prompt", "targets", "references", "task", "id"),
        *("group", "label"),
    }
    row = row_of(data_set, record, targets="numbers", name_in_inputs=False)
    bare = inputs.removeprefix(f"{data_set.name} ")
    assert (row["inputs"], row["prompt"], row["targets"]) == (bare, inputs, number)


def test_conditions_sign_for_sign():
    record = GOLDENS[5][1]
    text = "mnli hypothesis: It is wet. premise: It rains."
    told = (
        "Judge whether the premise implies the hypothesis, leaves it open or rules it"
        " out. Answer "
    )
    row = row_of(glue.MNLI, record, condition="description")
    assert row["condition"] == told + "entailment, neutral or contradiction."
    assert row["prompt"] == f"{row['condition']} {text}"
    row = row_of(glue.MNLI, record, condition="description", targets="numbers")
    numbers = "0 (entailment), 1 (neutral) or 2 (contradiction)."
    assert row["condition"] == told + numbers
    row = row_of(glue.MNLI, record, condition="inputs")
    assert row["condition"] == row["inputs"] == row["prompt"] == text
    with pytest.raises(ValueError, match="'id' and 'words'"):
        glue_format.Format(condition="id")


def test_ranked_rows_have_choices():
    row = row_of(glue.MNLI, GOLDENS[5][1], ranked=True)
    assert row["choices"] == ["entailment", "neutral", "contradiction"]
    assert row["answer"] == 2
    row = row_of(glue.MNLI, GOLDENS[5][1], ranked=True, targets="numbers")
    assert (row["choices"], row["targets"]) == (["0", "1", "2"], "2")
    row = row_of(glue.STSB, GOLDENS[4][1], ranked=True)
    assert row["choices"][row["answer"]] == "2.8"
    assert (len(row["choices"]), row["choices"][-1]) == (26, "5.0")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("train", "-00000-of-00001"), ("train", ""), ("validation_matched", "-00000-x")],
)
def test_parquet_as_json_lines(tmp_path, name, suffix):
    rows = [GOLDENS[5][1] | {"idx": i, "label": i % 3} for i in range(5)]
    folder = write(tmp_path / "a", "mnli", name, rows).parent
    expected = glue_files.read(tmp_path / "a", glue.MNLI, name)
    (folder / f"{name}.jsonl").unlink()
    parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}{suffix}.parquet")
    assert glue_files.read(tmp_path / "a", glue.MNLI, name) == expected
    assert [question.label for question in expected] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "label: expected a number of 0 to 1, got 2"),
        ({"label": True}, "label: expected a number of 0 to 1, got True"),
        ({"label": None}, "label: expected a number of 0 to 1, got None"),
        ({"idx": "a"}, "idx: expected a number, got 'a'"),
        ({"sentence": 3}, "sentence: expected a string, got 3"),
    ],
)
def test_malformed_rows_are_named_or_left_out(tmp_path, caplog, change, message):
    rows = cola(3)
    path = write(tmp_path, "cola", "train", [rows[0], rows[1] | change, rows[2]])
    with pytest.raises(records.MalformedRecord, match=f"{path}:2: {message}"):
        glue_files.read(tmp_path, glue.COLA, "train")
    kept = glue_files.read(tmp_path, glue.COLA, "train", skip_malformed=True)
    assert [question.id for question in kept] == ["0", "2"]
    assert message in caplog.text
    with pytest.raises(records.MalformedRecord, match="score of 0 to 5, got 5.1"):
        row_of(glue.STSB, PAIR | {"label": 5.1})


def test_hidden_labels_are_refused(tmp_path):
    path = write(tmp_path, "cola", "test", cola(2, lambda i: -1))
    glue_task_module.register(tmp_path, vocabulary="bytes")
    for name in ("glue_cola", "glue_cola_ranked"):
        task = seqio.get_mixture_or_task(name)
        with pytest.raises(
            glue_records.HiddenLabel, match=f"{path}:1: .* got -1, .* on `validation`"
        ):
            task.get_dataset(None, "test")
    with pytest.raises(glue_records.HiddenLabel):  # Not a fault to overlook.
        glue_files.read(tmp_path, glue.COLA, "test", skip_malformed=True)
    with pytest.raises(glue_records.HiddenLabel):
        row_of(glue.STSB, PAIR | {"label": -1.0})


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("GLUE_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match="GLUE_DIR"):
        seqio.get_mixture_or_task("glue_cola").get_dataset(None, "train")
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=f"train.jsonl, .* in {tmp_path}/glue/cola.*nyu-mll"
    ):
        seqio.get_mixture_or_task("glue_cola").get_dataset(None, "train")
    write(tmp_path, "cola", "train", [])
    with pytest.raises(ValueError, match="questions of glue_cola train in .* got none"):
        glue_files.read(None, glue.COLA, "train")
