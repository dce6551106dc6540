"""What is done with a trained model, by the commands that users type."""

import collections
import json

import pytest
from tiny_runs import arguments, one_device, run  # noqa: F401

from hyperx import cli
from hyperx.inference.predictor import Predictor

EXAMPLES = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(folder, TRAIN_STEPS=1)
    return folder


def test_eval_scores_all_controls_and_writes_what_was_said(trained, capsys):
    """From the model's folder alone: it keeps its configuration."""
    argv = ["eval", f"--model_dir={trained}", f"--gin.EVAL_EXAMPLES={EXAMPLES}"]
    assert cli.main([*argv, "--gin.EVAL_GROUPS=2", "--gin.EVAL_ROWS=2"]) == 0
    out = capsys.readouterr().out
    assert "toyworld · test · step 1" in out
    assert str(trained / "eval") in out
    path = trained / "eval" / "metrics-toyworld-test-1.json"
    summary = json.loads(path.read_text())
    assert summary["data"]["toyworld"]["examples"] == EXAMPLES
    assert summary["metrics"].keys() == {"matched", "shuffled", "empty"}
    for control, tasks in summary["metrics"].items():
        assert tasks["toyworld"].keys() == {"exact_match"}
        path = trained / "eval" / f"toyworld-test-{control}-1.jsonl"
        said = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(said) == EXAMPLES
        score = 100 * sum(line["exact_match"] for line in said) / EXAMPLES
        assert score == pytest.approx(tasks["toyworld"]["exact_match"])
        assert (control == "empty") == all(line["condition"] == "" for line in said)


def test_training_evaluates_by_the_way(tmp_path):
    options = dict(TRAIN_STEPS=2, EVAL_PERIOD=2, EVAL_EXAMPLES=EXAMPLES)
    run(tmp_path, EVAL_GROUPS=2, EVAL_ROWS=2, **options)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["step"], r["collection"]) for r in records] == [
        (1, "train"), (2, "train"), (2, "eval")
    ]  # fmt: skip
    assert records[-1]["values"].keys() == {"matched/exact_match"}
    assert records[0]["values"]["tokens"] > 0


def test_infer_answers_all_but_malformed_lines(trained, tmp_path, monkeypatch, capsys):
    adapted = collections.Counter()
    adapt = Predictor.adapt

    def counted(self, condition):
        adapted[condition] += 1
        return adapt(self, condition)

    monkeypatch.setattr(Predictor, "adapt", counted)
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(
        b'{"condition": "drop a", "input": "x a c"}\n'
        b'{"condition": "drop a", "input": \n'
        b'{"condition": "append b", "input": "x a"}\n'
        b'{"condition": "drop \xff", "input": "x"}\n'
        b'{"condition": "drop a", "input": "a"}\n'
    )
    argv = ["infer", f"--model_dir={trained}", "--max_new_tokens=4"]
    assert cli.main([*argv, f"--input={source}", f"--output={target}"]) == 1
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert [answer["line"] for answer in answers] == [1, 3, 5]
    assert all(isinstance(answer["output"], str) for answer in answers)
    assert adapted == {"drop a": 1, "append b": 1}
    error = capsys.readouterr().err
    assert all(f"{source}, line {number}: " in error for number in (2, 4))


def broken_checkout(folder):
    (folder / "splits" / "default").mkdir(parents=True)
    (folder / "tasks").mkdir()
    for split in ("train", "test"):
        lists = folder / "splits" / "default" / f"{split}_tasks.txt"
        lists.write_text("task1_a\n")
    (folder / "tasks" / "task1_a.json").write_text('{"Definition": ')


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        (["eval", "--model_dir={}/none"], ["expected --gin_file", "{}/none"]),
        (["infer", "--model_dir={}/none"], ["expected a trained", "{}/none"]),
        (["infer", "--model_dir={trained}", "--input={}/none"], ["{}/none"]),
        (["eval", "--model_dir={trained}", "--gin.CHECKPOINT_STEP=7"],
         ["expected checkpoint 7 in", "complete checkpoints there: [1]"]),
        (["eval", "--model_dir={trained}", "--gin.EVAL_SPLIT='dev'"], ["'dev'"]),
        (["train", "--gin_file=runs/toyworld.gin", "--gin_file=methods/hnt.gin"],
         ["methods/hnt.gin", "did you mean methods/hint.gin"]),
    ],
)  # fmt: skip
def test_misuse_is_one_message(trained, tmp_path, capsys, argv, messages):
    argv = [arg.format(tmp_path, trained=trained) for arg in argv]
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    for message in messages:
        assert message.format(tmp_path) in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("directory", "messages"),
    [("none", ["none"]), ("broken", ["task1_a.json", "JSON"])],
)
def test_bad_data_is_one_message(tmp_path, capsys, directory, messages):
    broken_checkout(tmp_path / "broken")
    argv = arguments("train", tmp_path / "out", TRAIN_STEPS=1)
    argv = [arg for arg in argv if "toyworld" not in arg and "split" not in arg]
    argv += ["--gin_file=runs/super_ni.gin", "--gin_file=backbones/t5_1_1_tiny.gin"]
    argv += [f"--gin.SUPER_NI_DIR='{tmp_path / directory}'"]
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    for message in messages:
        assert message in error
    assert "Traceback" not in error
