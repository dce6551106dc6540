"""Super-NaturalInstructions from a data set: as a checkout, but for the examples."""

import dataclasses
import json
import random
import sys

import pytest
import seqio

from hyperx.data.super_ni import formats as super_ni_format
from hyperx.data.super_ni import records, splits
from hyperx.tasks import super_ni as super_ni_tasks

COPY = "hf:nobody/natural-instructions"


class Rows:
    """As much of `datasets.Dataset` as is used."""

    def __init__(self, rows):
        self._rows = rows
        self.column_names = list(rows[0])

    def __getitem__(self, key):
        if isinstance(key, str):
            return [row[key] for row in self._rows]
        return {name: self[name][key] for name in self.column_names}

    def select(self, places):
        return Rows([self._rows[place] for place in places])


def rows_of(task, count, **changes):
    """Every third instance has two references, each in a row."""
    return [
        {
            "task_name": task,
            "id": f"{task}-{i}",
            "definition": " Say good or bad \n",
            "inputs": f"film {i}",
            "targets": target,
        }
        | changes
        for i in range(count)
        for target in (("good", "fine") if i % 3 == 0 else ("bad",))
    ]


TRAIN = rows_of("task2_b", 130) + rows_of("task1_a", 7)
TEST = rows_of("task3_c", 130)


def reading(monkeypatch, train=TRAIN, test=TEST):
    """Replaces the library by one that has these rows."""

    class Datasets:
        @staticmethod
        def load_dataset(path, *, split):
            assert path == "nobody/natural-instructions"
            return Rows({"train": train, "test": test}[split])

    monkeypatch.setitem(sys.modules, "datasets", Datasets)


def write(folder, **splits):
    for split, rows in splits.items():
        (folder / split).mkdir(parents=True)
        for task in {row["task_name"] for row in rows}:
            lines = [json.dumps(row) for row in rows if row["task_name"] == task]
            path = folder / split / f"{task}_{split}.jsonl"
            path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def restore_tasks():
    """Leaves the seqio registry as importing the module makes it."""
    names = set(seqio.TaskRegistry.names())
    yield
    super_ni_tasks.register()
    for name in set(seqio.TaskRegistry.names()) - names:
        seqio.TaskRegistry.remove(name)


def test_one_task_sign_for_sign(monkeypatch):
    reading(monkeypatch, test=rows_of("task3_c", 2))
    instances = [
        records.Instance(id="task3_c-0", input="film 0", outputs=("good", "fine")),
        records.Instance(id="task3_c-1", input="film 1", outputs=("bad",)),
    ]
    task = records.Task(
        name="task3_c",
        definition="Say good or bad",
        category="uncategorised",
        positives=None,
        negatives=None,
        instances=tuple(instances),
    )
    assert splits.read_split(COPY, "test") == splits.Split(tasks=(task,), skipped={})


def test_the_same_hundred_as_from_a_checkout(tmp_path, monkeypatch):
    """Also from rows that are not sorted by task, and by the environment variable."""
    tasks, lists = tmp_path / "tasks", tmp_path / "splits" / "default"
    tasks.mkdir()
    lists.mkdir(parents=True)
    (lists / "train_tasks.txt").write_text("task2_b\ntask1_a\n")
    (lists / "test_tasks.txt").write_text("task3_c\n")
    for name, count in {"task2_b": 130, "task1_a": 7, "task3_c": 130}.items():
        instances = [
            {
                "id": f"{name}-{i}",
                "input": f"film {i}",
                "output": ["good", "fine"] if i % 3 == 0 else ["bad"],
            }
            for i in range(count)
        ]
        content = {
            "Definition": ["Say good or bad"],
            "Categories": ["uncategorised"],
            "Positive Examples": [],
            "Negative Examples": [],
            "Instances": instances,
        }
        (tasks / f"{name}.json").write_text(json.dumps(content))
    mixed = sorted(TRAIN, key=lambda row: int(row["id"].split("-")[1]))
    reading(monkeypatch, train=mixed)
    monkeypatch.setenv("SUPER_NI_DIR", COPY)
    for split in splits.SPLITS:
        expected = splits.read_split(tmp_path, split)
        # From a checkout there could have been examples: () and not None.
        without = [
            dataclasses.replace(task, positives=None, negatives=None)
            for task in expected.tasks
        ]
        assert list(splits.read_split(None, split).tasks) == without
    assert splits.read_split(None, "train", max_instances=3).num_instances == 6
    with pytest.raises(ValueError, match="got 'validation'"):
        splits.read_split(None, "validation")


def test_equal_ids_of_different_inputs_are_two_instances(monkeypatch):
    reading(monkeypatch, test=rows_of("task3_c", 4, id="x"))
    (task,) = splits.read_split(COPY, "test").tasks
    assert [i.input for i in task.instances] == [f"film {i}" for i in range(4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": None}, "row 5: targets: expected a string, got None"),
        ({"inputs": ["a"]}, r"row 5: inputs: expected a string, got \['a'\]"),
        (
            {"definition": " "},
            r"expected one definition, got \['', 'Say good or bad'\]",
        ),
        (
            {"definition": "b"},
            r"expected one definition, got \['Say good or bad', 'b'\]",
        ),
    ],
)
def test_malformed_tasks_are_named(monkeypatch, caplog, change, message):
    rows = rows_of("task2_b", 2) + rows_of("task1_a", 2)
    reading(monkeypatch, train=[*rows[:5], rows[5] | change])
    with pytest.raises(
        records.MalformedTask, match="instructions, task1_a: " + message
    ):
        splits.read_split(COPY, "train")
    split = splits.read_split(COPY, "train", skip_malformed=True)
    assert [task.name for task in split.tasks] == ["task2_b"]
    assert list(split.skipped) == ["task1_a"]
    assert "left out a malformed task" in caplog.text


def test_what_is_missing_is_said(monkeypatch):
    clone = "git clone https://github.com/allenai/natural-instructions"
    reading(monkeypatch, test=[{"task_name": "a", "input": "b"}])
    with pytest.raises(
        ValueError, match=r"'targets'\) in nobody/.*got \['task_name', 'input'\]"
    ):
        splits.read_split(COPY, "test")

    def load_dataset(path, *, split):
        raise ConnectionError(f"Couldn't reach '{path}'")

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset)
    with pytest.raises(
        FileNotFoundError,
        match="the train split .* nobody/natural-instructions on the Hugging Face hub, "
        f"got ConnectionError: Couldn't reach .*check .* the network, or .*{clone}",
    ):
        splits.read_split(COPY, "train")
    monkeypatch.setitem(sys.modules, "datasets", None)  # Importing it fails.
    with pytest.raises(ValueError, match=r"pip install 'hyperx\[hf\]'"):
        splits.read_split(COPY, "train")


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"positives": 1}, "positive"), ({"negatives": 2}, "negative")],
)
def test_examples_cannot_be_told(monkeypatch, restore_tasks, options, kind):
    reading(monkeypatch)
    form = super_ni_format.Format(**options)
    message = f"expected a source with {kind} examples for the format {form.name}, got"
    (task,) = splits.read_split(COPY, "test").tasks
    with pytest.raises(ValueError, match=message + " task3_c"):
        super_ni_format.condition(task, form, len)
    with pytest.raises(ValueError, match=message + " task3_c"):
        super_ni_format.prompt(task, task.instances[0], form, len)
    name = super_ni_tasks.add(form, COPY, vocabulary="bytes")
    with pytest.raises(ValueError, match=message + " task2_b"):
        seqio.get_mixture_or_task(name).get_dataset(None, "train")


def test_the_library_reads_a_folder(tmp_path, monkeypatch, restore_tasks):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "rows", train=TRAIN, test=TEST)
    folder = f"hf:{tmp_path / 'rows'}"
    super_ni_tasks.register(folder, vocabulary="bytes")
    task = seqio.get_mixture_or_task("super_ni_def")
    assert task.num_input_examples("train") == 107
    dataset = task.get_dataset(None, "train", shuffle=False)
    examples = list(dataset.as_numpy_iterator())
    shuffled = [f"film {i}".encode() for i in range(130)]
    random.Random(42).shuffle(shuffled)
    # Files are read in the order of their names.
    texts = [example["inputs_pretokenized"] for example in examples]
    assert [example["task"] for example in examples[:8]] == [b"task1_a"] * 7 + [
        b"task2_b"
    ]
    assert texts[7:] == shuffled[:100]
    test = next(task.get_dataset(None, "test", shuffle=False).as_numpy_iterator())
    assert test["condition_pretokenized"] == b"Say good or bad"
    assert test["references"].tolist() == [b"good", b"fine"]
    assert [test[k] for k in ("task", "category", "id")] == [
        b"task3_c",
        b"uncategorised",
        b"task3_c-0",
    ]
    (tmp_path / "rows" / "test" / "task3_c_test.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match='Unknown split "test"'):
        splits.read_split(folder, "test")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        splits.read_split(f"hf:{tmp_path / 'nowhere'}", "test")
