"""MRQA: both layouts read alike, windows by hand, EM and F1 by hand."""

import gzip
import importlib
import json
import socket

import numpy as np
import pyarrow as pa
import pytest
import seqio
from pyarrow import parquet

from hyperx.data import averages, records
from hyperx.data.mrqa import files as mrqa
from hyperx.data.mrqa import formats as mrqa_format
from hyperx.data.mrqa import metrics as mrqa_metrics
from hyperx.tasks import mrqa as mrqa_tasks

CONTEXT = "[PAR] The tower is in Paris. Paris is big, said Jo ."
ANSWERS = [("Jo", [[48, 49]]), ("Paris", [[22, 26], [29, 33]])]


def words(text):
    return len(text.split()) + 1


def official(qid="q1", answers=ANSWERS, context=CONTEXT, question="Where is it?"):
    detected = [{"text": text, "char_spans": spans} for text, spans in answers]
    return {
        "context": context,
        "context_tokens": [["[PAR]", 0]],
        "qas": [
            {
                "qid": qid,
                "question": question,
                "detected_answers": detected,
                "answers": [text for text, _ in answers] or ["elsewhere"],
            }
        ],
    }


def hub(subset="SQuAD", **options):
    row = official(**options)
    (qa,) = row.pop("qas")
    detected = qa.pop("detected_answers")
    lists = {
        "text": [answer["text"] for answer in detected],
        "char_spans": [
            {
                "start": [s for s, _ in a["char_spans"]],
                "end": [e for _, e in a["char_spans"]],
            }
            for a in detected
        ],
    }
    row["context_tokens"] = {"tokens": ["[PAR]"], "offsets": [0]}
    return {"subset": subset, **row, **qa, "detected_answers": lists}


def write_official(root, split, subset, lines):
    path = root / split / f"{subset}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"header": {"dataset": subset, "split": split}}
    with gzip.open(path, "wt") as file:
        for line in (header, *lines):
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def write_hub(root, name, rows):
    path = root / "plain_text" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def rows_of(name, split):
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, split, shuffle=False)
    return list(dataset.as_numpy_iterator())


@pytest.fixture
def restore(monkeypatch):
    """Leaves the tasks as importing the module makes them."""
    monkeypatch.delenv("MRQA_DIR", raising=False)
    yield
    mrqa_tasks.register()


def question(context=CONTEXT, spans=(), text="Q"):
    return mrqa.Question(
        id="q", text=text, context=context, answers=("x",), spans=tuple(spans)
    )


def test_both_layouts_are_read_alike(tmp_path):
    write_official(tmp_path / "a", "train", "SQuAD", [official(), official("q2", [])])
    write_hub(tmp_path / "b", "train-00000-of-00002", [hub("NewsQA"), hub()])
    write_hub(tmp_path / "b", "train-00001-of-00002", [hub(qid="q2", answers=[])])
    read = mrqa.read(tmp_path / "a", "SQuAD", "train")
    assert read == mrqa.read(tmp_path / "b", "SQuAD", "train")
    assert read[0] == mrqa.Question(
        id="q1",
        text="Where is it?",
        context=CONTEXT,
        answers=("Jo", "Paris"),
        spans=(("Jo", 48, 49), ("Paris", 22, 26), ("Paris", 29, 33)),
    )
    for answer, start, stop in read[0].spans:
        assert CONTEXT[start : stop + 1] == answer
    assert (read[1].answers, read[1].spans) == (("elsewhere",), ())
    assert len(mrqa.read(tmp_path / "b", "NewsQA", "train")) == 1


def test_names_of_files_and_splits(tmp_path):
    duorc = write_official(tmp_path, "dev", "DuoRC", [official()])
    assert mrqa.files(tmp_path, "DuoRC.ParaphraseRC", "test") == [duorc]
    assert mrqa.splits("SQuAD") == ("train", "validation")
    assert mrqa.splits("RACE") == ("test",)
    with pytest.raises(ValueError, match=r"a split of RACE, \('test',\), got 'train'"):
        mrqa.read(tmp_path, "RACE", "train")
    with pytest.raises(ValueError, match="expected a set of .*, got 'squad'"):
        mrqa.splits("squad")


def test_windows_by_hand():
    # An end and three words are the question's: of 9 tokens 5 are left, 2 to share.
    def windows(context, **options):
        options = dict(max_tokens=9, overlap=2) | options
        asked = question(context)
        parts = mrqa_format.windows(asked, words, **options)
        return [context[start:stop].strip() for start, stop in parts]

    assert windows("a b c d e") == ["a b c d e"]
    assert windows(" a b  c\nd e f g h ") == ["a b  c\nd e", "d e f g h"]
    assert windows("a b c d e f g h i") == ["a b c d e", "d e f g h", "g h i"]
    assert windows("a b c d e f g", overlap=0) == ["a b c d e", "f g"]
    # Every window has something new, and the last is needed.
    assert windows("a b c d e f g h") == ["a b c d e", "d e f g h"]


def test_words_of_many_tokens():
    def letters(text):
        return len(text.replace(" ", "")) + 1

    def windows(context):
        asked = question(context)
        spent = letters(mrqa_format.prompt("Q", ""))
        parts = mrqa_format.windows(asked, letters, max_tokens=spent + 6, overlap=3)
        return [context[start:stop].strip() for start, stop in parts]

    assert windows("aa bb cc dd") == ["aa bb cc", "cc dd"]
    # Only whole words are shared; what does not fit beside them stands alone.
    assert windows("aaa bbb cccc dd") == ["aaa bbb", "cccc dd"]
    assert windows("aa bbbb ccccc d") == ["aa bbbb", "ccccc d"]
    # Too long for any window.
    assert windows("aa bbbbbbbb cc") == ["aa", "bbbbbbbb", "cc"]
    assert windows("aaaaaaaa b") == ["aaaaaaaa", "b"]


def test_a_question_that_leaves_no_room():
    asked = question(text="one two three")
    with pytest.raises(
        ValueError, match="more than 2 of 8 tokens, got question q, .* 2"
    ):
        list(mrqa_format.windows(asked, words, max_tokens=8, overlap=2))


def test_examples_sign_for_sign():
    spans = (("late", 8, 9), ("a b", 0, 2), ("d", 6, 6))
    asked = mrqa.Question(
        id="q", text="Who?", context="a b c d e f g", answers=("d", "D"), spans=spans
    )

    def make(**options):
        options = dict(max_tokens=9, overlap=2) | options
        return list(mrqa_format.examples("SQuAD", [asked], words, **options))

    first, second = make()
    assert first == {
        "condition": "SQuAD",
        "inputs": "question: Who? context: a b c d e",
        "prompt": "question: Who? context: a b c d e",
        "targets": "a b",  # The first in the source's order that is within: not `late`.
        "references": ["d", "D"],
        "task": "SQuAD",
        "id": "q/0",
        "question": "q",
    }
    assert second["inputs"] == "question: Who? context: d e f g"
    assert (second["targets"], second["id"]) == ("late", "q/1")
    three = make(max_tokens=7, overlap=0)
    assert [row["targets"] for row in three] == ["a b", "late", ""]
    dropped = make(max_tokens=7, overlap=0, drop_unanswered=True)
    assert [row["id"] for row in dropped] == ["q/0", "q/1"]


def test_exact_match_and_f1_by_hand():
    assert mrqa_metrics.normalize("The  Cat's, a dog!") == "cats dog"
    assert mrqa_metrics.exact_match_score("the Cat.", ["dog", "a cat"]) == 1
    assert mrqa_metrics.exact_match_score("cats", ["cat"]) == 0
    # 2 in common, of 3 and of 4: 2 * 2 / 7.
    f1 = mrqa_metrics.f1_score("in big Paris", ["x", "Paris in the spring time"])
    assert f1 == pytest.approx(4 / 7)
    assert mrqa_metrics.f1_score("b b", ["b"]) == pytest.approx(2 / 3)
    assert mrqa_metrics.f1_score("the", ["an"]) == 0


def test_the_likeliest_window_with_an_answer_counts():
    targets = [
        {"question": name, "references": ["Paris"]}
        for name in ("1", "1", "1", "2", "2")
    ]
    said = ["in Paris", "", "Rome", "", " "]
    metric = mrqa_metrics.by_question
    scores = {"scores": np.array([-3.0, -0.1, -4.0, -1.0, -2.0])}
    # Of the first question "in Paris", 2 * 1 / 3; of the second, nothing.
    assert metric(targets, said, scores) == {
        "exact_match": 0,
        "f1": pytest.approx(100 / 3),
    }
    said[2] = "the Paris"
    scores["scores"][2] = -2
    assert metric(targets, said, scores) == {"exact_match": 50, "f1": 50}
    with pytest.raises(ValueError, match="shorter"):
        metric(targets, said, {"scores": [0.0]})


def test_seqio_tasks_of_both_layouts(tmp_path, restore):
    for split in ("train", "dev"):
        write_official(tmp_path, split, "SQuAD", [official(), official("q2", [])])
    write_hub(tmp_path, "test-00000-of-00001", [hub("RACE")])
    names = mrqa_tasks.register(
        tmp_path, vocabulary="bytes", max_tokens=64, overlap=8, drop_unanswered=True
    )
    assert names == ("mrqa", "mrqa_out_of_domain")
    assert mrqa_tasks.NAMES["TriviaQA-web"] == "mrqa_triviaqa"
    assert mrqa_tasks.NAMES["DuoRC.ParaphraseRC"] == "mrqa_duorc"
    rows = rows_of("mrqa_squad", "train")
    assert [row["id"] for row in rows] == [b"q1/0", b"q1/1"]
    assert all(len(row["inputs"]) <= 64 for row in rows)
    kept = rows_of("mrqa_squad", "validation")
    assert len(kept) == 4
    assert kept[-1]["targets"].tolist() == [1]
    mixture = seqio.get_mixture_or_task("mrqa")
    squad = seqio.get_mixture_or_task("mrqa_squad")
    assert mixture.get_rate(squad) == len(rows) == 2
    (metric,) = squad.metric_objs
    with_scores = seqio.metrics.ModelOutputType.PREDICTION_WITH_AUX
    assert metric.model_output_type == with_scores
    (race, *_) = rows_of("mrqa_race", "test")
    assert squad.postprocess_fn("x", example=race, is_target=False) == "x"
    assert squad.postprocess_fn("", example=race, is_target=True) == {
        "references": ["Jo", "Paris"],
        "question": "q1",
        "task": "RACE",
        "id": "q1/0",
    }


def test_benchmarks_are_macro_averages():
    benchmarks = {b.name: b for b in mrqa_tasks.BENCHMARKS}
    assert set(benchmarks.values()) <= set(averages.registered())
    values = {
        name: {"f1": 10 * number, "exact_match": 0}
        for number, name in enumerate(mrqa_tasks.NAMES.values())
    }
    assert benchmarks["mrqa_f1"].of(values) == {"mean": 25}
    assert benchmarks["mrqa_out_of_domain_f1"].of(values) == {"mean": 85}
    assert benchmarks["mrqa_exact_match"].of(values) == {"mean": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: expected JSON in UTF-8"),
        (official(context=" "), r":2: qas\[0\]: expected a context and"),
        (official(context="short"), "within the characters 0 to 4 .*got 'Jo' at"),
        (official(answers=[("x", 3)]), "detected_answers: expected answers with"),
        (official(answers=[(3, [[0, 1]])]), "answers: expected a list of strings"),
        (official(qid=3), r"qas\[0\]: qid: expected a string, got 3"),
        ({"context": "x"}, ":2: expected the key 'qid', got only"),
    ],
)
def test_bad_lines_are_named_or_left_out(tmp_path, caplog, line, message):
    path = write_official(tmp_path, "train", "SQuAD", [line, official("q2")])
    with pytest.raises(records.MalformedRecord, match=r"SQuAD\.jsonl\.gz.*" + message):
        mrqa.read(tmp_path, "SQuAD", "train")
    (kept,) = mrqa.read(tmp_path, "SQuAD", "train", skip_malformed=True)
    assert kept.id == "q2"
    assert str(path) in caplog.text
    assert "1 malformed records left out" in caplog.text


def test_damaged_files_are_named(tmp_path):
    path = write_official(tmp_path, "train", "SQuAD", [official()] * 50)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(records.MalformedRecord, match=r"SQuAD\.jsonl\.gz: damaged af"):
        mrqa.read(tmp_path, "SQuAD", "train")
    path = write_hub(tmp_path, "test-00000-of-00001", [hub("RACE")])
    table = parquet.read_table(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(records.MalformedRecord, match="expected Parquet, got"):
        mrqa.read(tmp_path, "RACE", "test")
    with pytest.raises(ValueError, match="expected questions of RACE in .*, got none"):
        mrqa.read(tmp_path, "RACE", "test", skip_malformed=True)
    parquet.write_table(table.drop_columns(["answers"]), path)
    with pytest.raises(records.MalformedRecord, match="expected the columns"):
        mrqa.read(tmp_path, "RACE", "test")
    row = hub("RACE", answers=[("x", [[900, 900]])])
    path = write_hub(tmp_path, "test-00000-of-00001", [hub(), hub("RACE"), row])
    with pytest.raises(records.MalformedRecord, match="row 2: detected_answers"):
        mrqa.read(tmp_path, "RACE", "test")


def test_importing_needs_neither_data_nor_network(restore, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    importlib.reload(mrqa_tasks)
    task = seqio.get_mixture_or_task("mrqa_squad")
    how = "github.com/mrqa/.*MRQA_DIR"
    with pytest.raises(FileNotFoundError, match=f"got neither.*{how}"):
        task.get_dataset(None, "train")
    monkeypatch.setenv("MRQA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"train/SQuAD.jsonl.gz or .*{how}"):
        task.get_dataset(None, "train")
