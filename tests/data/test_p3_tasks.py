"""P3 as seqio tasks and mixtures."""

import importlib
import json
import os
import pathlib
import socket

import numpy as np
import pyarrow as pa
import pytest
import seqio
from pyarrow import parquet

from hyperx.data import averages, examples
from hyperx.data.p3 import directories
from hyperx.data.p3 import files as p3
from hyperx.data.p3 import lists as p3_lists
from hyperx.tasks import p3 as p3_tasks

REPOSITORY = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
    os.environ.get("HYPERX_TEST_DATA", REPOSITORY.parent / "shared" / "data")
)
P3 = DATA / "p3"
COPA = DATA / "glue_superglue" / "super_glue" / "copa"
SENTENCEPIECE = str(DATA / "vocab" / "cc_all.32000" / "sentencepiece.model")

needs_data = pytest.mark.skipif(not P3.is_dir(), reason="no P3 at hand")

CHOOSE = "p3_super_glue_copa_choose_score_eval"


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    """Leaves no task or mixture of P3 in seqio's registries."""
    monkeypatch.delenv("P3_DIR", raising=False)
    yield
    for registry in (seqio.MixtureRegistry, seqio.TaskRegistry):
        for name in [name for name in registry.names() if name.startswith("p3_")]:
            registry.remove(name)


@pytest.fixture
def root(tmp_path):
    """Ten rows of `imdb_good`, and two ranked ones of `super_glue_rte_must`."""
    rows = [
        {"inputs_pretokenized": f"in {i}", "targets_pretokenized": f"out {i}"}
        for i in range(10)
    ]
    ranked = [
        {
            "idx": [example, number],
            "inputs_pretokenized": f"ask {example}",
            "targets_pretokenized": "yn"[number],
            "is_correct": number == example,
        }
        for example in range(2)
        for number in range(2)
    ]
    for name, table in (
        ("imdb_good/train", rows),
        ("imdb_good/validation", rows[:3]),
        ("super_glue_rte_must_score_eval/validation", ranked),
    ):
        path = tmp_path / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(table), path)
    templates = tmp_path / "promptsource_templates" / "imdb"
    templates.mkdir(parents=True)
    (templates / "templates.yaml").write_text(
        "dataset: imdb\n"
        "templates:\n"
        "  a: !Template\n"
        "    name: good\n"
        "    jinja: 'in {{ text }} ||| out {{ text }}'\n"
        "    answer_choices: null\n"
        "    metadata: !TemplateMetadata {original_task: true}\n"
    )
    return tmp_path


def rows_of(name, split):
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, split, shuffle=False)
    return list(dataset.as_numpy_iterator())


def test_seqio_tasks(root):
    names = p3_tasks.register(root, vocabulary="bytes")
    assert names == (
        "p3_imdb_good",
        "p3_super_glue_rte_must_score_eval",
        *p3_lists.TRAINING,
        "p3_t0_eval",
    )
    rows = rows_of("p3_imdb_good", "train")
    assert len(rows) == seqio.TaskRegistry.get("p3_imdb_good").num_input_examples(
        "train"
    )
    vocabulary = seqio.ByteVocabulary()
    for feature, text in (
        ("condition", "in [MASK]"),
        ("inputs", "in 0"),
        ("prompt", "in [MASK]\nin 0"),
        ("targets", "out 0"),
    ):
        assert rows[0][feature].tolist() == [*vocabulary.encode(text), 1]
        assert rows[0][f"{feature}_pretokenized"] == text.encode()
    sides = ("task", "id", "category")
    assert [rows[0][key] for key in sides] == [b"imdb_good", b"0", b"imdb"]
    mixture = seqio.MixtureRegistry.get("p3_t0_train")
    assert [(t.name, mixture.get_rate(t)) for t in mixture.tasks] == [
        ("p3_imdb_good", 25_000)
    ]
    assert p3_tasks.missing("p3_t0_train", root) == tuple(
        row.group
        for row in p3_lists.DATASETS
        if row.train == "BASE" and row.name != "imdb"
    )


def test_ranked_rows_and_their_metric(root):
    p3_tasks.register(root, vocabulary="bytes", condition="name")
    name = "p3_super_glue_rte_must_score_eval"
    rows = rows_of(name, "validation")
    assert [row["choices"].tolist() for row in rows] == [[b"y", b"n"]] * 2
    assert [row["answer"].item() for row in rows] == [0, 1]
    assert [row["targets_pretokenized"] for row in rows] == [b"y", b"n"]
    assert rows[0]["condition_pretokenized"] == b"super_glue_rte_must"
    task = seqio.TaskRegistry.get(name)
    targets = [task.postprocess_fn("", example=row, is_target=True) for row in rows]
    scores = np.array([[-1.0, -2.0], [-1.0, -2.0]])
    (metric,) = task.metric_fns
    assert metric(targets, scores) == {"accuracy": 50.0}
    (benchmark,) = p3_tasks.BENCHMARKS
    assert benchmark in averages.registered()
    values = {name: {"accuracy": 50.0}}
    with pytest.raises(ValueError, match="got none of .*p3_super_glue_copa/accuracy"):
        benchmark.of(values)  # of prompts of one data set
    figures = benchmark.of(values, allow_missing=True)
    assert figures["super_glue_rte"] == figures["mean"] == 50.0


def test_generated_answers_are_scored(root):
    p3_tasks.register(root, vocabulary="bytes")
    task = seqio.TaskRegistry.get("p3_imdb_good")
    rows = rows_of("p3_imdb_good", "validation")
    targets = [task.postprocess_fn("", example=row, is_target=True) for row in rows]
    assert task.postprocess_fn("a", example=rows[0], is_target=False) == "a"
    (metric,) = task.metric_fns
    scores = metric(targets, ["out 0", "out 1", "out 7"])
    assert scores["exact_match/category/imdb"] == pytest.approx(200 / 3)


def test_few_shot_tasks(root):
    p3_tasks.register(
        root, vocabulary="bytes", condition="few_shot", shots=2, queries=5, passes=2
    )
    task = seqio.TaskRegistry.get("p3_imdb_good")
    assert task.num_input_examples("train") == len(rows_of(task.name, "train")) == 20
    (condition,) = {
        row["condition_pretokenized"] for row in rows_of(task.name, "validation")
    }
    assert condition.count(b"<extra_id_99> in ") == 2
    with pytest.raises(
        FileNotFoundError, match="split train of super_glue_rte_must_sc"
    ):
        rows_of("p3_super_glue_rte_must_score_eval", "validation")
    with pytest.raises(ValueError, match="100 sentinels for few-shot conditions"):
        p3_tasks.register(root, vocabulary="toyworld", condition="few_shot")


def test_batches_share_a_condition(root):
    p3_tasks.register(
        root, vocabulary="bytes", condition="few_shot", shots=2, queries=5
    )
    lengths = {"condition": 64, "inputs": 16, "targets": 16}
    loaded = examples.load(
        "p3_t0_train", "train", feature_lengths=lengths, progress=False
    )
    assert loaded.report()["conditions"] == 2
    assert np.bincount(loaded.condition_of_row).tolist() == [5, 5]


def test_fewer_training_examples(root):
    p3_tasks.register(root, vocabulary="bytes", max_examples=4)
    ids = [row["id"] for row in rows_of("p3_imdb_good", "train")]
    assert len(set(ids)) == 4
    assert ids == [row["id"] for row in rows_of("p3_imdb_good", "train")]
    assert len(rows_of("p3_imdb_good", "validation")) == 3


def test_missing_templates(root, monkeypatch):
    p3_tasks.register(root, vocabulary="bytes")
    with pytest.raises(FileNotFoundError, match="template of super_glue_rte_must in"):
        rows_of("p3_super_glue_rte_must_score_eval", "validation")
    p3_tasks.register(root, vocabulary="bytes", templates=root / "none")
    with pytest.raises(FileNotFoundError, match="none, found none; clone"):
        rows_of("p3_imdb_good", "train")
    # As on the hub, which has none.
    names = [path.relative_to(root).as_posix() for path in root.rglob("*.parquet")]
    folder = p3.Folder("hf:owner/P3", names, root.joinpath)
    monkeypatch.setattr(directories, "open_directory", lambda directory: folder)
    p3_tasks.register("hf:owner/P3", vocabulary="bytes")
    with pytest.raises(FileNotFoundError, match="condition='template', got none; clo"):
        rows_of("p3_imdb_good", "train")


def test_malformed_rows(root):
    path = root / "imdb_good" / "train-00000-of-00001.parquet"
    rows = parquet.read_table(path).to_pylist()
    rows[3]["targets_pretokenized"] = ""
    parquet.write_table(pa.Table.from_pylist(rows), path)
    p3_tasks.register(root, vocabulary="bytes")
    with pytest.raises(ValueError, match="row 3: expected an input and a target"):
        rows_of("p3_imdb_good", "train")
    p3_tasks.register(root, vocabulary="bytes", skip_malformed=True)
    assert len(rows_of("p3_imdb_good", "train")) == 9


def test_importing_needs_neither_data_nor_network(root, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    importlib.reload(p3_tasks)
    assert not [n for n in seqio.TaskRegistry.names() if n.startswith("p3_")]
    with pytest.raises(FileNotFoundError, match="P3_DIR; download"):
        p3_tasks.register()
    monkeypatch.setenv("P3_DIR", str(root))
    importlib.reload(p3_tasks)
    assert "p3_imdb_good" in seqio.TaskRegistry.names()


def test_rendered_rows_as_tasks(root, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in "abc"))
    names = p3_tasks.register_raw(
        "imdb",
        None,
        {"train": [path]},
        templates=root / "promptsource_templates",
        vocabulary="bytes",
    )
    assert names == ("p3_raw_imdb_good",)
    row = rows_of("p3_raw_imdb_good", "train")[1]
    assert row["condition_pretokenized"] == b"in [MASK]"
    assert row["inputs_pretokenized"] == b"in b"
    assert row["targets_pretokenized"] == b"out b"


@needs_data
def test_real_mixtures():
    p3_tasks.register(P3, vocabulary=SENTENCEPIECE)
    mixture = seqio.MixtureRegistry.get("p3_t0_train")
    # Those of commonsense_qa are not in T0's table.
    assert len(mixture.tasks) == 93 - 5
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates["p3_duorc_SelfRC_title_generation"] == 60_721
    assert rates["p3_quartz_answer_question_below"] == 2_696
    assert len(seqio.MixtureRegistry.get("p3_t0_eval").tasks) == 12
    assert p3_tasks.missing("p3_t0_eval", P3) == (
        "super_glue_wsc.fixed",
        "winogrande_winogrande_xl",
        "super_glue_cb",
        "super_glue_rte",
        "anli",
        "story_cloze_2016",
        "hellaswag",
        "super_glue_wic",
    )


@needs_data
def test_real_tokens_are_those_of_the_files():
    p3_tasks.register(P3, vocabulary=SENTENCEPIECE)
    for name in ("qasc_is_correct_1", "super_glue_copa_choose_score_eval"):
        (path,) = (P3 / name).glob("*.parquet")
        table = parquet.read_table(path).to_pylist()
        if name.endswith("_score_eval"):
            table = [row for row in table if row["is_correct"]]
        rows = rows_of(f"p3_{name}", path.name.split("-")[0])
        for row, original in zip(rows, table, strict=True):
            assert row["inputs"].tolist() == [*original["inputs"], 1]
            assert row["targets"].tolist() == original["targets"]


@needs_data
def test_a_real_condition_of_a_template():
    p3_tasks.register(P3, vocabulary=SENTENCEPIECE)
    row = rows_of(CHOOSE, "validation")[0]
    assert row["condition_pretokenized"].decode() == (
        "[MASK] because... / so...\nChoose between:\n- [MASK]\n- [MASK]"
    )
    assert row["choices"].tolist() == [
        b"The toilet filled with water.",
        b"Water flowed from the spout.",
    ]
    assert row["answer"] == 1


@needs_data
def test_real_few_shot_conditions():
    p3_tasks.register(P3, vocabulary=SENTENCEPIECE, condition="few_shot")
    rows = rows_of("p3_qasc_is_correct_1", "train")
    tokens = rows[0]["condition"]
    assert (tokens[0], tokens[-1]) == (32000, 1)
    assert (tokens == 32000).sum() == (tokens == 32001).sum() == 16
    assert len({row["condition_pretokenized"] for row in rows}) == 25
    for row in rows:
        assert row["inputs_pretokenized"] not in row["condition_pretokenized"]
        assert row["prompt"].size <= 1024
    # Long stories: only some of the sixteen fit.
    rows = rows_of("p3_duorc_SelfRC_title_generation", "train")
    assert all(row["condition"].size <= 1024 for row in rows)
    assert 1 <= (rows[0]["condition"] == 32000).sum() < 16


@needs_data
@pytest.mark.skipif(not COPA.is_dir(), reason="no COPA at hand")
def test_copa_is_told_with_examples_of_its_training_split():
    files = {split: [COPA / f"{split}.jsonl"] for split in ("train", "validation")}
    p3_tasks.register_raw(
        "super_glue",
        "copa",
        files,
        templates=P3 / "promptsource_templates",
        vocabulary=SENTENCEPIECE,
        condition="few_shot",
        shots=4,
    )
    rows = rows_of("p3_raw_super_glue_copa_choose_score_eval", "validation")
    (condition,) = {row["condition_pretokenized"].decode() for row in rows}
    told = [part.split(" <extra_id_98> ") for part in condition.split("<extra_id_99> ")]
    told = [(text, target.strip()) for text, target in told[1:]]
    lines = (COPA / "train.jsonl").read_text(encoding="utf-8").splitlines()
    train = {row["premise"]: row for row in map(json.loads, lines)}
    assert len(told) == 4
    for text, target in told:
        row = train[next(p for p in train if text.startswith(p))]
        assert target == row[f"choice{row['label'] + 1}"]
