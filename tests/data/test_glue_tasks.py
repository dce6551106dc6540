"""The seqio tasks of GLUE: splits, rates, the real files; from the hub; imports."""

import collections
import json
import os
import subprocess
import sys

import pytest
import seqio

from hyperx.data import examples, records
from hyperx.data.glue import files as glue_files
from hyperx.data.glue import glue
from hyperx.data.glue import metrics as glue_metrics
from hyperx.data.glue import splits as glue_splits
from hyperx.tasks import glue as glue_task_module

MNLI = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 2}
QQP = {"question1": "Why?", "question2": "How?", "label": 1}


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


def test_a_labelled_test_split(tmp_path):
    write(tmp_path, "cola", "train", cola(4))
    write(tmp_path, "cola", "validation", cola(11))
    write(tmp_path, "sst2", "train", cola(1_005))
    write(tmp_path, "sst2", "validation", cola(7))
    rows = [MNLI | {"idx": i} for i in range(3)]
    write(tmp_path, "mnli", "train", rows)
    write(tmp_path, "mnli", "validation_matched", rows[:2])
    write(tmp_path, "mnli", "validation_mismatched", rows[:1])
    write(tmp_path, "qqp", "train", [QQP | {"idx": 0}])

    def ids(data_set):
        parts = [
            glue_splits.read(tmp_path, data_set, split) for split in glue_splits.SPLITS
        ]
        return [{question.id for question in part} for part in parts]

    train, validation, test = ids(glue.COLA)
    assert (len(train), len(validation), len(test)) == (4, 5, 6)
    assert validation | test == {str(i) for i in range(11)}
    assert ids(glue.COLA) == [train, validation, test]
    train, validation, test = ids(glue.SST2)
    assert (len(train), len(validation), len(test)) == (5, 1_000, 7)
    assert train | validation == {str(i) for i in range(1_005)}
    assert [len(part) for part in ids(glue.MNLI)] == [3, 1, 2]
    with pytest.raises(ValueError, match="more than 1000 questions of glue_qqp"):
        glue_splits.read(tmp_path, glue.QQP, "validation")
    glue_task_module.register(tmp_path, vocabulary="bytes", make_test=True)
    mixture = seqio.get_mixture_or_task("glue")
    assert set(mixture.splits) == set(glue_splits.SPLITS)
    assert len(mixture.tasks) == 8


def test_rates_are_sizes_of_the_training_splits(tmp_path):
    sizes = {"glue_cola": 4, "glue_mnli": 64}
    write(tmp_path, "cola", "train", cola(4))
    rows = [MNLI | {"idx": i} for i in range(64)]
    write(tmp_path, "mnli", "train", rows)

    def rates(**options):
        glue_task_module.register(tmp_path, vocabulary="bytes", **options)
        mixture = seqio.get_mixture_or_task("glue")
        return {
            task.name: mixture.get_rate(task)
            for task in mixture.tasks
            if task.name in (*sizes, "glue_mnli_mismatched")
        }

    assert rates() == sizes | {"glue_mnli_mismatched": 0}
    assert rates(maximum=16)["glue_mnli"] == 16
    assert rates(temperature=2.0) == {
        "glue_cola": 2,
        "glue_mnli": 8,
        "glue_mnli_mismatched": 0,
    }
    assert len(seqio.get_mixture_or_task("glue").tasks) == 9
    assert set(glue_task_module.task_names()) == {
        f"glue_{s.name}" for s in glue.DATA_SETS if s != glue.WNLI
    }


def test_the_real_mnli(data_dir, monkeypatch):
    monkeypatch.setenv("GLUE_DIR", str(data_dir / "glue_superglue"))
    vocabulary = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    glue_task_module.register(vocabulary=str(vocabulary))
    task = seqio.get_mixture_or_task("glue_mnli")
    assert task.num_input_examples("train") == 363
    assert task.num_input_examples("validation") == 369
    rows = list(task.get_dataset(None, "train", shuffle=False).as_numpy_iterator())
    first = rows[0]
    assert first["inputs_pretokenized"].startswith(
        b"mnli hypothesis: Cairo is now the most popular entry point to Egypt. premise:"
    )
    assert (first["targets_pretokenized"], first["id"]) == (b"neutral", b"1")
    assert first["condition"][-1] == first["inputs"][-1] == first["targets"][-1] == 1
    assert max(row["targets"].size for row in rows) <= 5
    assert len({row["id"] for row in rows}) == 363
    assert collections.Counter(row["label"] for row in rows).keys() == {0, 1, 2}
    held = examples.load(
        "glue_mnli",
        "validation",
        feature_lengths={"condition": 1, "inputs": 512, "targets": 32},
        tasks=glue_task_module.task_names(),
        progress=False,
    )
    assert len(held) == 369
    assert held.features["condition"][0].tolist() == [5]


def test_metrics_reach_seqio():
    for name in glue_task_module.task_names():
        (metric,) = seqio.get_mixture_or_task(name).metric_objs
        assert metric.model_output_type.name == "PREDICTION"
        (metric,) = seqio.get_mixture_or_task(f"{name}_ranked").metric_objs
        assert metric.model_output_type.name == "SCORE"
    assert glue_metrics.ranked(glue_metrics.matthews).__name__ == "matthews"


def test_importing_needs_no_network():
    code = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError("network")
socket.socket.connect = socket.create_connection = refuse
from hyperx.tasks import glue, super_glue
"""
    environment = {k: v for k, v in os.environ.items() if k != "GLUE_DIR"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_hub_as_a_folder(tmp_path, monkeypatch, caplog):
    """The library `datasets` is asked for the configuration and split."""
    rows = cola(3)
    write(tmp_path, "cola", "train", rows)
    expected = glue_files.read(tmp_path, glue.COLA, "train")
    asked = []

    class Datasets:
        @staticmethod
        def load_dataset(path, name, *, split):
            asked.append((path, name, split))
            return rows

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    monkeypatch.setenv("GLUE_DIR", "hf:")
    assert glue_files.read(None, glue.COLA, "train") == expected
    assert glue_files.read("hf:me/copy", glue.COLA, "train") == expected
    assert asked == [("nyu-mll/glue", "cola", "train"), ("me/copy", "cola", "train")]
    rows[1]["label"] = 9
    message = "nyu-mll/glue/cola, train row 1: label: .* got 9"
    with pytest.raises(records.MalformedRecord, match=message):
        glue_files.read(None, glue.COLA, "train")
    kept = glue_files.read(None, glue.COLA, "train", skip_malformed=True)
    assert kept == (expected[0], expected[2])
    assert "train row 1: label" in caplog.text


def test_the_hub_out_of_reach(monkeypatch):
    class Datasets:
        @staticmethod
        def load_dataset(path, name, *, split):
            raise ConnectionError(f"Couldn't reach '{path}'")

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    with pytest.raises(
        FileNotFoundError, match="train split of cola in the .* nyu-mll/glue .* reach"
    ):
        glue_files.read("hf:", glue.COLA, "train")
    monkeypatch.setitem(sys.modules, "datasets", None)  # Importing it fails.
    with pytest.raises(ValueError, match=r"pip install 'hyperx\[hf\]'"):
        glue_files.read("hf:", glue.COLA, "train")


def test_the_library_reads_a_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, "cola", "train", cola(3))
    (tmp_path / "glue" / "README.md").write_text(
        "---\nconfigs:\n- config_name: cola\n  data_files:\n"
        "  - split: train\n    path: cola/train.jsonl\n---\n"
    )
    expected = glue_files.read(tmp_path, glue.COLA, "train")
    assert glue_files.read(f"hf:{tmp_path}/glue", glue.COLA, "train") == expected
