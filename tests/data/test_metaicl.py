"""MetaICL: its files read strictly, its seqio tasks, and both on real data."""

import importlib
import json
import socket

import pytest
import seqio

from hyperx.data import averages, records, vocabularies
from hyperx.data.metaicl import files as metaicl
from hyperx.data.metaicl import formats as metaicl_format
from hyperx.data.metaicl import metrics as metaicl_metrics
from hyperx.tasks import metaicl as metaicl_tasks

# The 16 examples of superglue-copa, seed 100, as they are told; and the first question.
COPA_DIRECT = """\
The dog barked. (cause)
A knock sounded at the door.


The man became disabled. (effect)
His family offered him financial support.


The secretary put the caller on hold. (effect)
The caller waited on the line.


The scientist gained recognition. (cause)
She discovered a new species.


The boy wanted to be muscular. (effect)
He lifted weights.


My mailbox was overflowing with letters. (cause)
I went on vacation for two weeks.


The fugitive hid from the police. (effect)
The fugitive remained at large.


I decided to stay home for the night. (cause)
The forecast called for storms.


The driver got a flat tire. (cause)
He ran over a nail.


The mother suspected that her son was lying. (cause)
He avoided making eye contact with her.


The boy pushed his sister. (effect)
His sister tattled on him.


My body cast a shadow over the grass. (cause)
The sun was rising.


The school principal implemented a dress code. (effect)
Students protested the decision.


I put shoes on. (cause)
The floor contained broken glass.


The bodybuilder lifted weights. (effect)
Her muscles became fatigued.


The terrorist set off the bomb. (effect)
The bomb exploded."""
COPA_CHANNEL_BEGINNING = """\
A knock sounded at the door.
The dog barked. (cause)


His family offered him financial support.
The man became disabled. (effect)


The caller waited on the line.
The secretary put the caller on hold. (effect)


"""
COPA_CHANNEL_END = """\


The bomb exploded.
The terrorist set off the bomb. (effect)"""
QUESTION = "The girl pushed herself off the top of the slide. (effect)"
DOWN, UP = "She glided down the slide.", "She crawled up the slide."


def line(text, output, *options):
    record = {"task": "t", "input": text, "output": output, "options": list(options)}
    return json.dumps(record) + "\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """One setting: train on `free-1` and `class`, rank `inst:yes-no` and `choice`."""
    monkeypatch.delenv("METAICL_DIR", raising=False)
    setting = {
        "train": ["free-1", "class"],
        "test": ["inst:yes-no", "choice"],
        "unseen_domain_test": ["choice"],
    }
    kinds = {"inst:yes-no": "classification", "choice": "multi-choice"}
    (tmp_path / "config" / "tasks").mkdir(parents=True)
    (tmp_path / "config" / "a_to_b.json").write_text(json.dumps(setting))
    for task, kind in kinds.items():
        path = tmp_path / "config" / "tasks" / f"{task}.json"
        path.write_text(json.dumps({"task_type": kind, "options": None}))

    def write(task, lines, *suffixes):
        (tmp_path / "data" / task).mkdir(parents=True, exist_ok=True)
        for suffix in suffixes:
            path = tmp_path / "data" / task / f"{task}_{suffix}.jsonl"
            path.write_text("".join(lines))

    free = [line(f"f{i}", f"o{i}") for i in range(20)]
    write("free-1", free, "16384_100_train")
    labelled = [line(f"c{i}", "no" if i % 2 else "yes", "yes", "no") for i in range(18)]
    write("class", labelled, "16384_100_train")
    for seed in metaicl.SEEDS:
        shown = [line(f"{seed}-{i}", "yes", "yes", "no") for i in range(16)]
        for task in kinds:
            write(task, shown, f"16_{seed}_train")
            write(task, labelled[:3], f"16_{seed}_dev")
            write(task, labelled[:5], f"16_{seed}_test")
    return tmp_path


@pytest.fixture
def restore():
    """Leaves the registries as importing the module makes them."""
    known = (set(seqio.TaskRegistry.names()), set(seqio.MixtureRegistry.names()))
    yield
    for registry, names in zip(
        (seqio.TaskRegistry, seqio.MixtureRegistry), known, strict=True
    ):
        for name in set(registry.names()) - names:
            registry.remove(name)


def rows_of(name, split, lengths=None):
    task = seqio.get_mixture_or_task(name)
    dataset = task.get_dataset(lengths, split, shuffle=False, num_epochs=1)
    return list(dataset.as_numpy_iterator())


def test_mixtures_of_a_folder(root, restore):
    mixtures = metaicl_tasks.register(root, vocabulary="bytes", queries=2)
    assert mixtures == ("metaicl_a_to_b", "metaicl_channel_a_to_b")
    mixture = seqio.get_mixture_or_task("metaicl_a_to_b")
    names = [task.name for task in mixture.tasks]
    assert len(names) == 11
    assert {"metaicl_a_to_b_train", "metaicl_inst:yes_no_87"} <= set(names)
    train = rows_of("metaicl_a_to_b_train", "train")
    assert len(train) == mixture.num_input_examples("train") == 38
    tasks = [row["task"].decode() for row in train]
    assert tasks == ["free-1"] * 20 + ["class"] * 18
    first = train[0]
    assert first["condition_pretokenized"].count(b"\n\n\n") == 15
    assert first["condition"].tolist() == train[1]["condition"].tolist()
    assert first["condition"].tolist() != train[2]["condition"].tolist()
    assert first["targets"][-1] == first["inputs"][-1] == 1
    channel = rows_of("metaicl_channel_a_to_b_train", "train")[0]
    assert channel["targets_pretokenized"] == first["inputs_pretokenized"]
    assert channel["inputs_pretokenized"] == first["targets_pretokenized"]


def test_targets_of_a_folder(root, restore):
    metaicl_tasks.register(root, vocabulary="bytes")
    name = "metaicl_inst:yes_no_13"
    task = seqio.get_mixture_or_task(name)
    assert [task.num_input_examples(split) for split in ("dev", "test")] == [3, 5]
    rows = rows_of(name, "test")
    assert {row["condition_pretokenized"] for row in rows} == {
        b"\n\n\n".join(b"13-%d\nyes" % i for i in range(16))
    }
    assert [row["answer"] for row in rows] == [0, 1, 0, 1, 0]
    assert rows[1]["choices"].tolist() == [b"yes", b"no"]
    (metric,) = task.metric_objs
    assert metric.model_output_type == seqio.metrics.ModelOutputType.SCORE
    targets = [task.postprocess_fn("", example=r, is_target=True) for r in rows]
    assert targets[1] == {
        "choices": ["yes", "no"],
        "answer": 1,
        "lengths": [4, 3],
        "references": ["no"],
        "task": "inst:yes-no",
        "id": "1",
    }
    (score,) = task.metric_fns
    assert score is metaicl_metrics.macro_f1
    (accuracy,) = seqio.get_mixture_or_task("metaicl_choice_42").metric_fns
    assert accuracy is metaicl_metrics.accuracy
    (row, *_) = rows_of("metaicl_channel_choice_13", "dev")
    assert row["choice_inputs"].tolist() == [b"yes", b"no"]
    channel = seqio.get_mixture_or_task("metaicl_channel_choice_13")
    target = channel.postprocess_fn("", example=row, is_target=True)
    assert (target["choices"], target["lengths"]) == (["yes", "no"], [1, 1])


def test_benchmarks_of_a_folder(root, restore):
    metaicl_tasks.register(root, vocabulary="bytes")
    assert [b.name for b in metaicl_tasks.BENCHMARKS] == [
        "metaicl_a_to_b",
        "metaicl_channel_a_to_b",
    ]
    benchmark = metaicl_tasks.BENCHMARKS[0]
    assert benchmark in averages.registered()
    values = {
        f"metaicl_{task}_{seed}": {f"{metric}_per_token": number + add, metric: 0}
        for task, metric, add in (
            ("inst:yes_no", "macro_f1", 0),
            ("choice", "accuracy", 10),
        )
        for number, seed in enumerate(metaicl.SEEDS)
    }
    figures = benchmark.of(values)
    assert (figures["mean"], figures["worst"]) == (7, 5)
    assert figures["unseen_domain_mean"] == 12
    assert figures["metaicl_choice/worst"] == 10


def test_free_form_targets_and_names_that_clash(root, restore):
    path = root / "config" / "tasks" / "choice.json"
    path.write_text(json.dumps({"task_type": "free-form", "options": None}))
    with pytest.raises(ValueError, match="options to rank, .*got choice, .* free-form"):
        metaicl_tasks.register(root, vocabulary="bytes")
    path.write_text(json.dumps({"task_type": "ranking"}))
    with pytest.raises(records.MalformedRecord, match=r"choice\.json: task_type"):
        metaicl_tasks.register(root, vocabulary="bytes")
    path.write_text(json.dumps({"task_type": "multi-choice"}))
    clash = {"train": [], "test": ["inst:yes-no", "inst:yes_no"]}
    (root / "config" / "a_to_b.json").write_text(json.dumps(clash))
    with pytest.raises(FileNotFoundError, match="the type of the task inst:yes_no"):
        metaicl_tasks.register(root, vocabulary="bytes")
    kind = json.dumps({"task_type": "classification"})
    (root / "config" / "tasks" / "inst:yes_no.json").write_text(kind)
    with pytest.raises(ValueError, match="'inst:yes-no' and 'inst:yes_no'"):
        metaicl_tasks.register(root, vocabulary="bytes")
    (root / "config" / "a_to_b.json").write_text('{"train": [], "test": "choice"}')
    with pytest.raises(records.MalformedRecord, match="test: expected a list of str"):
        metaicl_tasks.register(root, vocabulary="bytes")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{\n", ":2: expected JSON in UTF-8"),
        ("[]\n", r":2: expected a JSON object, got \[\]"),
        ('{"input": "a", "options": []}\n', ":2: expected the key 'output', got only"),
        (line(1, "b"), ":2: input: expected a string, got 1"),
        (line("a", "maybe", "yes", "no"), ":2: output: expected one of .*got 'maybe'"),
        (line("a", "yes"), r":2: options: expected at least 2 to rank, got \[\]"),
        (line("a", "yes", "yes"), ":2: options: expected at least 2 to rank"),
    ],
)
def test_bad_lines_are_named_or_left_out(root, restore, caplog, bad, message):
    path = root / "data" / "choice" / "choice_16_13_test.jsonl"
    path.write_text(line("a", "yes", "yes", "no") + bad)
    metaicl_tasks.register(root, vocabulary="bytes")
    with pytest.raises(records.MalformedRecord, match="choice_16_13_test.*" + message):
        rows_of("metaicl_choice_13", "test")
    metaicl_tasks.register(root, vocabulary="bytes", skip_malformed=True)
    assert len(rows_of("metaicl_choice_13", "test")) == 1
    assert str(path) in caplog.text
    path.write_text(bad)
    with pytest.raises(ValueError, match="expected examples in .*, got none"):
        rows_of("metaicl_choice_13", "test")


def test_missing_files_say_where_and_how(root, restore, monkeypatch):
    how = "github.com/facebookresearch/MetaICL.*METAICL_DIR"
    with pytest.raises(FileNotFoundError, match=f"got neither.*{how}"):
        metaicl.settings(None)
    with pytest.raises(FileNotFoundError, match=f"nowhere.*config.*{how}"):
        metaicl_tasks.register(root / "nowhere")
    monkeypatch.setenv("METAICL_DIR", str(root))
    assert list(metaicl.settings(None)) == ["a_to_b"]
    with pytest.raises(FileNotFoundError, match=f"the setting b_to_c at .*{how}"):
        metaicl.read_setting(None, "b_to_c")
    (root / "data" / "class" / "class_16384_100_train.jsonl").unlink()
    metaicl_tasks.register(root, vocabulary="bytes")
    with pytest.raises(FileNotFoundError, match=f"train examples of .* class.*{how}"):
        rows_of("metaicl_a_to_b_train", "train")


def test_importing_needs_neither_data_nor_network(restore, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.delenv("METAICL_DIR", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    importlib.reload(metaicl_tasks)
    assert metaicl_tasks.BENCHMARKS == ()
    for setting in metaicl.SETTINGS:
        task = seqio.get_mixture_or_task(f"metaicl_{setting}_train")
        with pytest.raises(FileNotFoundError, match="METAICL_DIR"):
            task.get_dataset(None, "train")


def test_the_real_files(data_dir):
    folder = data_dir / "metaicl"
    setting = metaicl.read_setting(folder, "permissive_hr_to_lr")
    train = [metaicl.read_train(folder, task) for task in setting.train]
    assert (len(train), sum(map(len, train))) == (91, 10_962)
    assert len(setting.test) == 9
    tests = {}
    for task in setting.test:
        for seed in metaicl.SEEDS:
            for split in ("train", "dev"):
                assert len(metaicl.read_target(folder, task, seed, split)) == 16
            tests.setdefault(task, set()).add(
                metaicl.read_target(folder, task, seed, "test")
            )
    assert {len(versions) for versions in tests.values()} == {1}
    sizes = [len(next(iter(versions))) for versions in tests.values()]
    assert (min(sizes), max(sizes)) == (16, 150)
    kinds = [metaicl.task_type(folder, task) for task in setting.test]
    assert (kinds.count("multi-choice"), kinds.count("classification")) == (7, 2)


def test_a_real_target_sign_for_sign(data_dir, restore):
    vocabulary = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    metaicl_tasks.register(data_dir / "metaicl", vocabulary=str(vocabulary))
    direct = rows_of("metaicl_superglue_copa_100", "test")
    assert len(direct) == 150
    row = direct[0]
    assert row["condition_pretokenized"].decode() == COPA_DIRECT
    assert row["inputs_pretokenized"].decode() == QUESTION
    prompt = row["prompt_pretokenized"].decode()
    assert prompt == f"{COPA_DIRECT}\n\n\n{QUESTION}"
    assert row["targets_pretokenized"].decode() == DOWN
    assert [choice.decode() for choice in row["choices"]] == [DOWN, UP]
    assert row["answer"] == 0
    row = rows_of("metaicl_channel_superglue_copa_100", "test")[0]
    condition = row["condition_pretokenized"].decode()
    assert condition.startswith(COPA_CHANNEL_BEGINNING)
    assert condition.endswith(COPA_CHANNEL_END)
    assert condition.count("\n\n\n") == 15
    assert [choice.decode() for choice in row["choice_inputs"]] == [DOWN, UP]
    prompts = [prompt.decode() for prompt in row["choice_prompts"]]
    assert prompts == [f"{condition}\n\n\n{DOWN}", f"{condition}\n\n\n{UP}"]
    assert row["targets_pretokenized"].decode() == QUESTION


def test_real_episodes_fit(data_dir):
    path = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    vocabulary = vocabularies.get(str(path))

    def count_tokens(text):
        return len(vocabulary.encode(text)) + 1

    folder = data_dir / "metaicl"
    rows, longest = 0, 0
    for task in metaicl.read_setting(folder, "permissive_hr_to_lr").train:
        examples = metaicl.read_train(folder, task)
        drawn = metaicl_format.training_rows(
            task,
            examples,
            metaicl_format.Format(),
            count_tokens,
            shots=16,
            queries=4,
            seed=0,
            passes=1,
        )
        told = {}
        for row in drawn:
            rows += 1
            told[row["condition"]] = row["prompt"]
        assert len(told) == -(-len(examples) // 4)
        some = dict(list(told.items())[:8])
        longest = max(longest, *map(count_tokens, (*some, *some.values())))
    assert rows == 10_962
    assert 1000 < longest <= 1024
