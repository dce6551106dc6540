"""Reading Super-NaturalInstructions, its texts sign for sign, and its seqio tasks."""

import collections
import json
import os
import pathlib
import random

import pytest
import seqio

from hyperx.data.super_ni import files, records, splits
from hyperx.data.super_ni import formats as super_ni_format
from hyperx.tasks import super_ni as super_ni_tasks

REPOSITORY = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
    os.environ.get("HYPERX_TEST_DATA", REPOSITORY.parent / "shared" / "data")
)
NATURAL_INSTRUCTIONS = DATA / "natural-instructions"
SENTENCEPIECE = DATA / "vocab" / "cc_all.32000" / "sentencepiece.model"

needs_data = pytest.mark.skipif(
    not NATURAL_INSTRUCTIONS.is_dir(), reason="no natural-instructions at hand"
)

CONTENT = {
    "Categories": ["Sentiment", "Other"],
    "Definition": [" Say good or bad \n"],
    "Positive Examples": [
        {"input": "I like it!", "output": "good", "explanation": "Liking is good"},
        {"input": "Meh", "output": "bad", "explanation": "Meh."},
        {"input": "Ugh", "output": "bad", "explanation": "x"},
    ],
    "Negative Examples": [
        {"input": "Great ", "output": "bad", "explanation": "It is good"},
    ],
    "Instances": [
        {"id": f"t-{i}", "input": f"film {i}", "output": ["good", "fine"]}
        for i in range(130)
    ],
}


@pytest.fixture
def root(tmp_path):
    """A tiny checkout: task1_a and task2_b to train on, task3_c to test."""
    (tmp_path / "tasks").mkdir()
    lists = tmp_path / "splits" / "default"
    lists.mkdir(parents=True)
    (lists / "train_tasks.txt").write_text("task1_a\ntask2_b\n\n")
    (lists / "test_tasks.txt").write_text("task3_c\n")
    for name in ("task1_a", "task2_b", "task3_c"):
        (tmp_path / "tasks" / f"{name}.json").write_text(json.dumps(CONTENT))
    return tmp_path


@pytest.fixture
def task(root):
    return files.read_task(root / "tasks" / "task1_a.json")


def words(text):
    return len(text.split()) + 1


def form(positives=0, negatives=0, explanations=False, max_tokens=1024):
    return super_ni_format.Format(
        positives=positives,
        negatives=negatives,
        explanations=explanations,
        max_tokens=max_tokens,
    )


def test_read_task(task):
    assert (task.name, task.definition) == ("task1_a", "Say good or bad")
    assert task.category == "Sentiment"
    assert (len(task.positives), len(task.negatives)) == (3, 1)
    assert task.instances[129].outputs == ("good", "fine")


def test_early_releases_have_a_bare_definition_and_no_ids(tmp_path):
    instances = [{"input": "a", "output": ["b"]}]
    old = CONTENT | {"Definition": "Say it.", "Instances": instances}
    (tmp_path / "old.json").write_text(json.dumps(old))
    task = files.read_task(tmp_path / "old.json")
    assert (task.definition, task.instances[0].id) == ("Say it.", "old-0")


def test_conditions_sign_for_sign(task):
    def condition(**options):
        return super_ni_format.condition(task, form(**options), words)

    first = " Positive Example 1 -\nInput: I like it!\n Output: good.\n"
    second = " Positive Example 2 -\nInput: Meh.\n Output: bad.\n"
    assert condition() == "Say good or bad"
    assert condition(positives=1) == first + "Definition: Say good or bad"
    assert condition(positives=2) == second + first + "Definition: Say good or bad"
    assert condition(positives=1, negatives=2, explanations=True) == (
        " Negative Example 1 -\nInput: Great.\n Output: bad.\n"
        " Explanation: It is good.\n"
        " Positive Example 1 -\nInput: I like it!\n Output: good.\n"
        " Explanation: Liking is good.\n"
        "Definition: Say good or bad"
    )


def test_prompts_sign_for_sign(task):
    def prompt(**options):
        return super_ni_format.prompt(task, task.instances[7], form(**options), words)

    head = "Definition: Say good or bad.\n\n"
    first = " Positive Example 1 -\nInput: I like it!\n Output: good.\n\n"
    second = " Positive Example 2 -\nInput: Meh.\n Output: bad.\n\n"
    tail = "Now complete the following example -\nInput: film 7.\nOutput: "
    assert prompt() == head + tail
    assert prompt(positives=1) == head + first + tail
    assert prompt(positives=2) == head + first + second + tail
    assert prompt(positives=1, negatives=2, explanations=True) == (
        "Definition: Say good or bad.\n\n"
        " Positive Example 1 -\nInput: I like it!\n Output: good.\n"
        " Explanation: Liking is good.\n\n"
        " Negative Example 1 -\nInput: Great.\n Output: bad.\n"
        " Explanation: It is good.\n\n"
        "Now complete the following example -\nInput: film 7.\nOutput: "
    )


def test_examples_are_told_only_while_they_fit(task):
    # By words and an end: the condition is 6, its examples 10 and 8; the prompt without
    # examples is 16.
    def condition(limit):
        text = super_ni_format.condition(task, form(2, max_tokens=limit), words)
        return ["Example 1" in text, "Example 2" in text]

    def prompt(limit):
        text = super_ni_format.prompt(
            task, task.instances[0], form(2, max_tokens=limit), words
        )
        return ["Example 1" in text, "Example 2" in text]

    assert [condition(limit) for limit in (24, 23, 16, 15, 14, 13)] == [
        [True, True],
        [True, False],
        [True, False],
        [False, True],  # HINT tries the next one.
        [False, True],
        [False, False],
    ]
    assert [prompt(limit) for limit in (34, 33, 26, 25)] == [
        [True, True],
        [True, False],
        [True, False],
        [False, False],  # Tk-Instruct stops at the first.
    ]


def test_format_names_and_misuse():
    assert form().name == "def"
    assert form(2).name == "def_pos_2"
    assert form(2, 2, True).name == "def_pos_2_neg_2_expl"
    with pytest.raises(ValueError, match="got positives=-1"):
        form(-1)
    with pytest.raises(ValueError, match="expected examples to explain"):
        form(explanations=True)


def test_hundred_instances_shuffled_for_training_and_first_for_testing(root):
    train = splits.read_split(root, "train")
    test = splits.read_split(root, "test")
    in_file = [f"t-{i}" for i in range(130)]
    assert [i.id for i in test.tasks[0].instances] == in_file[:100]
    random.Random(42).shuffle(in_file)
    for task in train.tasks:  # The same seed anew for every task.
        assert [i.id for i in task.instances] == in_file[:100]
    assert train.num_instances == 200
    assert splits.read_split(root, "test", max_instances=3).num_instances == 3


def test_targets_are_drawn_once_and_references_kept(root):
    split = splits.read_split(root, "train")

    def draw(seed):
        examples = super_ni_format.examples(split, form(), words, seed=seed)
        return [example["targets"] for example in examples]

    assert draw(1) == draw(1) != draw(2)
    assert 60 < draw(1).count("fine") < 140
    assert set(draw(None)) == {"good"}
    example = next(super_ni_format.examples(split, form(), words, seed=0))
    assert example["references"] == ["good", "fine"]
    assert (example["task"], example["category"]) == ("task1_a", "Sentiment")


def _without(key):
    return {k: v for k, v in CONTENT.items() if k != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON in UTF-8, got Expecting"),
        (b"\xff", "expected JSON in UTF-8, got 'utf-8'"),
        ([1], r"the file: expected an object, got \[1\]"),
        (_without("Definition"), "expected the key 'Definition', got only"),
        (_without("Instances"), "expected the key 'Instances', got only"),
        (_without("Negative Examples"), "expected the key 'Negative Examples'"),
        (CONTENT | {"Definition": []}, "Definition: expected a list of one or more"),
        (CONTENT | {"Definition": ["\n"]}, "Definition: expected a text, got white"),
        (CONTENT | {"Definition": 3}, "Definition: expected a list, got 3"),
        (CONTENT | {"Categories": "QA"}, 'Categories: expected a list, got "QA"'),
        (CONTENT | {"Instances": []}, "Instances: expected at least one, got an empty"),
        (
            CONTENT | {"Instances": [{"id": "1", "input": "a", "output": "b"}]},
            r'Instances\[0\].output: expected a list, got "b"',
        ),
        (
            CONTENT | {"Instances": [{"input": "a", "output": []}]},
            r"Instances\[0\].output: expected a list of one or more strings, got \[\]",
        ),
        (
            CONTENT | {"Instances": [{"id": "1", "output": ["b"]}]},
            r"expected the key 'Instances\[0\].input', got only \['id', 'output'\]",
        ),
        (
            CONTENT | {"Positive Examples": [{"input": "a", "output": ["b"]}]},
            r'Positive Examples\[0\].output: expected a string, got \["b"\]',
        ),
        (
            CONTENT | {"Negative Examples": ["a"]},
            r'Negative Examples\[0\]: expected an object, got "a"',
        ),
    ],
)
def test_malformed_files_are_named(root, caplog, content, message):
    path = root / "tasks" / "task2_b.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(records.MalformedTask, match=r"task2_b\.json: .*" + message):
        splits.read_split(root, "train")
    split = splits.read_split(root, "train", skip_malformed=True)
    assert [task.name for task in split.tasks] == ["task1_a"]
    assert list(split.skipped) == ["task2_b"]
    assert str(path) in split.skipped["task2_b"]
    assert str(path) in caplog.text


def test_missing_files_say_where_and_how(root, monkeypatch):
    monkeypatch.delenv("SUPER_NI_DIR", raising=False)
    clone = "git clone https://github.com/allenai/natural-instructions"
    with pytest.raises(FileNotFoundError, match=f"got neither.*{clone}"):
        splits.read_split(None, "train")
    with pytest.raises(FileNotFoundError, match=f"nowhere.*{clone}.*SUPER_NI_DIR"):
        splits.read_split(root / "nowhere", "train")
    monkeypatch.setenv("SUPER_NI_DIR", str(root))
    assert splits.read_split(None, "test").num_instances == 100
    (root / "tasks" / "task2_b.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"task2_b at .*task2_b\.json"):
        splits.read_split(root, "train", skip_malformed=True)
    (root / "splits" / "default" / "test_tasks.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"list of test tasks.*test_tasks\.txt"):
        splits.read_split(root, "test")
    with pytest.raises(ValueError, match="got 'validation'"):
        splits.read_split(root, "validation")


@pytest.fixture
def restore_tasks():
    """Leaves the seqio registry as importing the module makes it."""
    yield
    super_ni_tasks.register()
    for name in set(seqio.TaskRegistry.names()):
        if name.startswith("super_ni_def_pos_2_"):
            seqio.TaskRegistry.remove(name)


def test_seqio_tasks(root, restore_tasks):
    names = super_ni_tasks.register(root, vocabulary="bytes")
    assert names == ("super_ni_def", "super_ni_def_pos_1", "super_ni_def_pos_2")
    task = seqio.get_mixture_or_task("super_ni_def")
    assert task.num_input_examples("train") == 200
    lengths = {"condition": 8, "inputs": 64, "prompt": 64, "targets": 64}
    dataset = task.get_dataset(lengths, "train", shuffle=False, seed=5)
    examples = list(dataset.as_numpy_iterator())
    assert len(examples) == 200
    vocabulary = task.output_features["inputs"].vocabulary
    first = examples[0]
    assert first["condition_pretokenized"] == b"Say good or bad"
    assert first["condition"].tolist() == [*vocabulary.encode("Say goo"), 1]
    shuffled = [f"film {i}" for i in range(130)]
    random.Random(42).shuffle(shuffled)
    assert first["inputs"].tolist() == [*vocabulary.encode(shuffled[0]), 1]
    assert first["references"].tolist() == [b"good", b"fine"]
    assert [first[k] for k in ("task", "category", "id")] == [
        b"task1_a",
        b"Sentiment",
        shuffled[0].replace("film ", "t-").encode(),
    ]
    again = list(task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator())
    assert [e["targets_pretokenized"] for e in again] == [
        e["targets_pretokenized"] for e in examples
    ]


def test_other_formats_and_skipping(root, restore_tasks):
    (root / "tasks" / "task2_b.json").write_text("{")
    everything = form(2, 2, True)
    name = super_ni_tasks.add(everything, root, vocabulary="bytes")
    assert name == "super_ni_def_pos_2_neg_2_expl"
    with pytest.raises(records.MalformedTask, match="task2_b"):
        seqio.get_mixture_or_task(name).get_dataset(None, "train")
    super_ni_tasks.add(everything, root, vocabulary="bytes", skip_malformed=True)
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, "train", shuffle=False)
    example = next(dataset.as_numpy_iterator())
    assert example["condition_pretokenized"].count(b" Explanation: ") == 3


def test_default_tasks_need_data_only_when_read(monkeypatch):
    monkeypatch.delenv("SUPER_NI_DIR", raising=False)
    super_ni_tasks.register()
    task = seqio.get_mixture_or_task("super_ni_def")
    with pytest.raises(FileNotFoundError, match="SUPER_NI_DIR"):
        task.get_dataset(None, "test")


@needs_data
def test_the_real_files():
    tasks = [
        files.read_task(path)
        for path in sorted((NATURAL_INSTRUCTIONS / "tasks").glob("*.json"))
    ]
    assert len(tasks) == 121
    assert sum(len(task.instances) for task in tasks) == 17_196
    several = [i for task in tasks for i in task.instances if len(i.outputs) > 1]
    assert len(several) == 1_143
    train = splits.read_split(NATURAL_INSTRUCTIONS, "train", max_instances=10**6)
    test = splits.read_split(NATURAL_INSTRUCTIONS, "test", max_instances=10**6)
    assert (len(train.tasks), train.num_instances) == (101, 14_008)
    assert (len(test.tasks), test.num_instances) == (9, 1_125)
    categories = collections.Counter(task.category for task in test.tasks)
    assert categories["Cause Effect Classification"] == 3
    assert categories["Question Rewriting"] == 2
    assert len(categories) == 6


@needs_data
def test_the_hundred_of_the_real_test_tasks():
    test = splits.read_split(NATURAL_INSTRUCTIONS, "test")
    sizes = {task.name.split("_")[0]: len(task.instances) for task in test.tasks}
    short = {"task1529": 29, "task391": 58, "task1152": 69}
    assert sizes == dict.fromkeys(sizes, 100) | short
    path = NATURAL_INSTRUCTIONS / "tasks" / f"{test.tasks[0].name}.json"
    first = json.loads(path.read_text())["Instances"][0]
    assert test.tasks[0].instances[0].input == first["input"]


@needs_data
def test_real_conditions_fit_and_end_in_the_definition(restore_tasks):
    super_ni_tasks.register(NATURAL_INSTRUCTIONS, vocabulary=str(SENTENCEPIECE))
    task = seqio.get_mixture_or_task("super_ni_def_pos_2")
    examples = list(task.get_dataset(None, "test", shuffle=False).as_numpy_iterator())
    assert len(examples) == 756
    for example in examples:
        assert example["condition"].size <= 1024
        assert example["condition"][-1] == example["inputs"][-1] == 1
        text = example["condition_pretokenized"]
        assert text.startswith(b" Positive Example")
        assert b"\nDefinition: " in text
