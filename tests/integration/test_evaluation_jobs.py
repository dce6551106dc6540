"""Evaluation of every checkpoint of a tiny model, killed, changed and gone on with."""

import json
import re
import shutil

import numpy as np
import pytest
import seqio
import tensorflow as tf
from tiny_runs import one_device, run  # noqa: F401

from hyperx import cli
from hyperx.data import averages, metrics, ranking, vocabularies
from hyperx.data.evaluation import Evaluation
from hyperx.runs import models
from hyperx.runs.evaluation import findings as findings_lib
from hyperx.runs.evaluation import job as job_lib

STEPS = (1, 2)
FEATURES = ("condition", "inputs", "prompt", "targets")
CONTROLS = ("matched", "shuffled", "empty")
# condition, input, target, choices
ROWS = {
    "job_decoded": [("drop a", "x a", "x"), ("append b", "x", "x b")],
    "job_ranked": [
        ("drop a", "x a", "x", ["x", "a", "a x"]),
        ("drop a", "y a", "y", ["a", "y"]),
    ],
    "job_channel": [("append b", "x b", "x", ["x", "x b"])],
}


def _rows(name):
    for index, (condition, given, target, *choices) in enumerate(ROWS[name]):
        row = {"condition": condition, "inputs": given, "targets": target}
        row |= {"prompt": f"{condition} {given}", "id": str(index), "task": name}
        row["references"] = [target]
        for texts in choices:
            column = "choice_inputs" if name == "job_channel" else "choices"
            row[column] = texts
            answer = given if name == "job_channel" else target
            row["answer"] = texts.index(answer)
        yield row


def _source(name):
    kinds = {str: ([], tf.string), list: ([None], tf.string), int: ([], tf.int32)}
    spec = {k: tf.TensorSpec(*kinds[type(v)]) for k, v in next(_rows(name)).items()}

    def dataset(split, shuffle_files, seed=None):
        return tf.data.Dataset.from_generator(
            lambda: _rows(name), output_signature=spec
        )

    return seqio.FunctionDataSource(dataset, splits=["test"])


def _broken(split, shuffle_files, seed=None):
    raise FileNotFoundError("expected the rows of job_broken, found nothing")


@pytest.fixture(scope="module", autouse=True)
def registered():
    tokens = vocabularies.get("toyworld")
    options = dict(
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(tokens, add_eos=True) for f in FEATURES},
    )
    ranked = dict(postprocess_fn=ranking.postprocess, metric_fns=[ranking.accuracy])
    sources = {name: _source(name) for name in ROWS}
    broken = seqio.FunctionDataSource(_broken, splits=["test"])
    for name, source in (sources | {"job_broken": broken}).items():
        kind = (
            dict(metric_fns=[metrics.exact_match]) if name == "job_decoded" else ranked
        )
        seqio.TaskRegistry.add(name, source=source, **kind, **options)
    seqio.MixtureRegistry.add("job_all", list(ROWS), default_rate=1.0)
    yield
    seqio.MixtureRegistry.remove("job_all")
    for name in (*ROWS, "job_broken"):
        seqio.TaskRegistry.remove(name)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Those of these tests alone."""
    monkeypatch.setattr(averages, "_BENCHMARKS", {})
    ranked = [("job_ranked", "accuracy"), ("job_channel", "accuracy")]
    averages.register(
        [
            averages.Benchmark("ranked", ranked, averages.mean, "both that are ranked"),
            averages.Benchmark(
                "more", lambda: [*ranked, ("job_other", "f1")], averages.mean
            ),
            averages.Benchmark("foreign", [("nothing", "f1")], averages.mean),
        ]
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(
        folder,
        TRAIN_STEPS=STEPS[-1],
        SAVE_PERIOD=1,
        KEEP_CHECKPOINTS=len(STEPS),
        EVAL_GROUPS=2,
        EVAL_ROWS=4,
        EVAL_TASKS="job_all",
    )
    return folder


@pytest.fixture
def evaluate(trained, tmp_path, capsys, monkeypatch):
    """The command; gives what was evaluated, what it printed and where it wrote."""
    asked = []
    original = Evaluation.run

    def counted(self, model, *, step, control, log_dir):
        asked.append((step, self._task.name, control))
        return original(self, model, step=step, control=control, log_dir=log_dir)

    monkeypatch.setattr(Evaluation, "run", counted)

    def command(*flags, code=0):
        asked.clear()
        argv = ["eval", f"--model_dir={trained}", f"--output={tmp_path}", *flags]
        assert cli.main(argv) == code
        printed = capsys.readouterr()
        return list(asked), printed.out + printed.err

    return command


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_all_checkpoints_and_controls_of_tasks_of_all_kinds(evaluate, tmp_path):
    asked, printed = evaluate("--steps=all")
    units = {(s, t, c) for s in STEPS for t in ROWS for c in CONTROLS}
    assert set(asked) == units
    assert len(asked) == len(units)
    assert f"{tmp_path}/summary-job_all-test.html" in printed
    for step, task, control in units:
        stem = f"{task}-test-{control}-{step}"
        found = _json(tmp_path / f"{stem}.json")
        lines = (tmp_path / f"{stem}.jsonl").read_text().splitlines()
        lines = [json.loads(line) for line in lines]
        assert found["data"]["examples"] == len(lines) == len(ROWS[task])
        if task == "job_decoded":
            right = [line["exact_match"] for line in lines]
            assert found["metrics"] == {"exact_match": 100 * np.mean(right)}
            continue
        right = [line["chosen"] == line["answer"] for line in lines]
        assert found["metrics"] == {"accuracy": 100 * np.mean(right)}
        for line in lines:
            assert len(line["scores"]) == len(line["choices"])
            assert np.argmax(line["scores"]) == line["chosen"]
    metrics_file = _json(tmp_path / "metrics-job_all-test-2.json")
    assert set(metrics_file["metrics"]) == set(CONTROLS)
    assert set(metrics_file["metrics"]["empty"]) == set(ROWS)


def test_scores_of_choices_are_those_of_the_predictor(evaluate, trained, tmp_path):
    evaluate("--tasks=job_ranked", "--steps=2")
    predictor = models.load(trained, 2)
    rows = ROWS["job_ranked"]
    expected = predictor.score(
        [given for _, given, *_ in rows],
        [choices for *_, choices in rows],
        predictor.adapt("drop a"),
    )
    path = tmp_path / "job_ranked-test-matched-2.jsonl"
    for line, scores in zip(path.read_text().splitlines(), expected, strict=True):
        np.testing.assert_allclose(json.loads(line)["scores"], scores, rtol=1e-4)


def test_what_is_finished_is_not_evaluated_again(evaluate, tmp_path, monkeypatch):
    first, _ = evaluate("--tasks=job_ranked", "--steps=1")
    assert [control for *_, control in first] == ["matched", "empty"]
    again, printed = evaluate("--tasks=job_ranked", "--steps=1,2")
    assert again == [(2, *unit[1:]) for unit in first]
    assert "3 of 6 evaluated before" in printed
    # Another length of examples, another checkpoint, a damaged file.
    asked, _ = evaluate("--tasks=job_ranked", "--steps=1,2", "--gin.EVAL_EXAMPLES=1")
    assert len(asked) == 4
    evaluate("--tasks=job_ranked", "--steps=1,2")
    (tmp_path / "job_ranked-test-empty-2.json").write_text('{"settings": ')
    asked, _ = evaluate("--tasks=job_ranked", "--steps=1,2")
    assert asked == [(2, "job_ranked", "empty")]
    monkeypatch.setattr(job_lib.hyperx, "__version__", "another")
    asked, _ = evaluate("--tasks=job_ranked", "--steps=1")
    assert len(asked) == 2


def test_what_another_model_found_is_not_taken(evaluate, trained, tmp_path):
    flags = ("--tasks=job_ranked", "--steps=1")
    first, _ = evaluate(*flags)
    copied = shutil.copytree(trained, tmp_path / "copied")
    assert evaluate(*flags, f"--model_dir={copied}")[0] == []
    other = dict(EVAL_GROUPS=2, EVAL_ROWS=4, EVAL_TASKS="job_all")
    run(tmp_path / "other", TRAIN_STEPS=1, SEED=1, **other)
    assert evaluate(*flags, f"--model_dir={tmp_path}/other")[0] == first


def test_other_rows_are_evaluated_anew(evaluate, monkeypatch):
    flags = ("--tasks=job_ranked", "--steps=1")
    first, _ = evaluate(*flags)
    assert evaluate(*flags)[0] == []
    (condition, _, *rest), *others = ROWS["job_ranked"]
    changed = [(condition, "z a", *rest), *others]
    monkeypatch.setitem(ROWS, "job_ranked", changed)
    assert evaluate(*flags)[0] == first


def test_a_killed_job_goes_on(evaluate, tmp_path, monkeypatch):
    write = findings_lib.write_text
    done = []

    def killed(path, text):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(path.name)
        write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(findings_lib, "write_text", killed)
        evaluate("--steps=1", code=130)
    asked, _ = evaluate("--steps=1")
    assert len(asked) == len(ROWS) * len(CONTROLS) - 4
    shown = _json(tmp_path / "metrics-job_all-test-1.json")["metrics"]
    assert {len(tasks) for tasks in shown.values()} == {len(ROWS)}


def test_a_shuffled_condition_is_the_tasks_next_or_another_tasks(evaluate, tmp_path):
    evaluate("--steps=1")

    def conditions(task):
        lines = (tmp_path / f"{task}-test-shuffled-1.jsonl").read_text().splitlines()
        return [json.loads(line)["condition"] for line in lines]

    assert conditions("job_decoded") == ["append b", "drop a"]
    assert conditions("job_ranked") == ["append b"] * 2
    assert conditions("job_channel") == ["drop a"]


def test_a_task_without_a_second_condition_says_so(evaluate, tmp_path):
    _, printed = evaluate("--tasks=job_ranked", "--steps=1")
    assert job_lib.NO_OTHER in printed
    text = (tmp_path / "summary-job_ranked-test.md").read_text()
    assert f"job_ranked shuffled: {job_lib.NO_OTHER}" in text


def test_benchmarks_are_averaged_whole_or_not_at_all(evaluate, tmp_path):
    evaluate("--steps=1")
    summary = _json(tmp_path / "summary-job_all-test.json")
    by_name = {
        entry["name"]: entry
        for entry in summary["benchmarks"]
        if entry["control"] == "matched"
    }
    assert list(by_name) == ["tasks", "ranked", "more"]
    of_task = _json(tmp_path / "metrics-job_all-test-1.json")["metrics"]["matched"]
    values = {task: next(iter(found.values())) for task, found in of_task.items()}
    mean = np.mean(list(values.values()))
    assert by_name["tasks"]["figures"] == {"mean": pytest.approx(mean)}
    ranked = (values["job_ranked"] + values["job_channel"]) / 2
    assert by_name["ranked"]["figures"] == {"mean": ranked}
    assert by_name["more"]["figures"] is None
    assert by_name["more"]["missing"] == ["job_other/f1"]
    text = (tmp_path / "summary-job_all-test.md").read_text()
    assert "not averaged, 1 of 3 members are missing: job_other/f1" in text

    asked, _ = evaluate("--steps=1", "--allow_missing")
    assert asked == []
    text = (tmp_path / "summary-job_all-test.md").read_text()
    assert "averaged over 2 of 3 members only; missing: job_other/f1" in text


def test_a_task_that_cannot_be_read_ends_the_job_unless_told(evaluate, tmp_path):
    flags = ("--tasks=job_(broken|ranked|decoded)", "--steps=1")
    _, printed = evaluate(*flags, code=1)
    assert "expected the rows of job_broken, found nothing" in printed
    asked, _ = evaluate(*flags, "--allow_missing")
    assert {task for _, task, _ in asked} == {"job_ranked", "job_decoded"}
    (path,) = tmp_path.glob("summary-*.md")
    text = path.read_text()
    assert "job_broken: FileNotFoundError: expected the rows of job_broken" in text
    assert re.search(r"mean over the 3 tasks .*averaged over 2 of 3 members", text)


def test_the_best_checkpoints_are_found_and_drawn(evaluate, tmp_path):
    evaluate("--steps=all")
    summary = _json(tmp_path / "summary-job_all-test.json")
    found = {s: _json(tmp_path / f"metrics-job_all-test-{s}.json") for s in STEPS}
    values = {
        task: {
            step: next(iter(found[step]["metrics"]["matched"][task].values()))
            for step in STEPS
        }
        for task in ROWS
    }
    for best in summary["best_per_task"]:
        of_task = values[best["task"]]
        assert best["value"] == max(of_task.values())
        assert of_task[best["step"]] == best["value"]
    means = {step: np.mean([v[step] for v in values.values()]) for step in STEPS}
    assert means[summary["single_best"]["tasks"]] == max(means.values())
    page = (tmp_path / "summary-job_all-test.html").read_text()
    assert "data:image/png;base64," in page
    assert (tmp_path / "summary-job_all-test.png").stat().st_size > 1000
    assert not re.search(r"(src|href)=\"(?!data:)", page)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps=7"], "expected checkpoint 7 in"),
        (["--steps=newest"], "expected steps such as 'all', 'latest' or '100,200'"),
        (["--tasks=job_rank"], "names the nearest are job_ranked"),
        (["--tasks=job_all", "--gin.EVAL_SPLIT='dev'"], "the split 'dev'"),
    ],
)
def test_misuse_is_one_message(evaluate, flags, message):
    asked, printed = evaluate(*flags, code=1)
    assert asked == []
    assert message in printed
    assert "Traceback" not in printed
