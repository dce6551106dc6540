"""The seqio tasks of SuperGLUE: every data set of a folder, and the real COPA."""

import json

import pytest
import seqio

from hyperx.data.glue import super_glue
from hyperx.tasks import super_glue as super_glue_task_module

PAIR = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0, "idx": 7}
WSC = {
    "text": "Ann asked Bob if he could sing.",
    **dict(span1_text="Bob", span1_index=2, span2_text="he", span2_index=4),
    **dict(label=1, idx=7),
}
RECORDS = {
    super_glue.BOOLQ: {"question": "is it", "passage": "It is.", "label": 1, "idx": 7},
    super_glue.CB: PAIR,
    super_glue.COPA: {
        **dict(premise="It rained.", choice1="I sang.", choice2="I got wet."),
        **dict(question="effect", label=1, idx=7),
    },
    super_glue.MULTIRC: {
        **dict(paragraph="Ann ran.", question="Who ran?", answer="Ann", label=1),
        "idx": {"paragraph": 2, "question": 5, "answer": 11},
    },
    super_glue.RECORD: {
        **dict(passage="Ann met Bob.", query="@placeholder was glad"),
        **dict(entities=["Bob", "Ann"], answers=["Ann", "Bob"]),
        "idx": {"passage": 3, "query": 4},
    },
    super_glue.RTE: PAIR,
    super_glue.WIC: {
        **dict(word="bank", sentence1="A river bank.", sentence2="A bank note."),
        **dict(label=0, idx=7),
    },
    super_glue.WSC: WSC,
}


@pytest.fixture(autouse=True)
def restore_tasks():
    yield
    super_glue_task_module.register()


def write(root, name, split, rows):
    folder = root / "super_glue" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / f"{split}.jsonl").write_text("".join(lines))


def test_all_tasks_read_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    for data_set, record in RECORDS.items():
        name = data_set.folder or data_set.name
        write(tmp_path, name, "train", [record, record])
        write(tmp_path, name, "validation", [record])
    super_glue_task_module.register(vocabulary="bytes")
    mixture = seqio.get_mixture_or_task("super_glue")
    sizes = {task.name: task.num_input_examples("train") for task in mixture.tasks}
    expected = dict.fromkeys(super_glue_task_module.task_names(), 2)
    assert sizes == expected | {"super_glue_record": 4}
    seen = set()
    for name in ("super_glue", "super_glue_ranked"):
        mixture = seqio.get_mixture_or_task(name)
        dataset = mixture.get_dataset(None, "train", shuffle=False, num_epochs=1)
        seen |= {row["inputs"].size for row in dataset.as_numpy_iterator()}
        for task in mixture.tasks:
            (row,) = task.get_dataset(None, "validation").as_numpy_iterator()
            target = task.postprocess_fn(
                row["targets_pretokenized"].decode(), example=row, is_target=True
            )
            (metric,) = task.metric_objs
            assert ("choices" in target) == (name == "super_glue_ranked")
            assert metric.model_output_type.name == (
                "SCORE" if "choices" in row else "PREDICTION"
            )
            assert target["references"][0] == row["targets_pretokenized"].decode()
    assert len(seen) > 7
    super_glue_task_module.register(vocabulary="bytes", targets="numbers")
    wsc = seqio.get_mixture_or_task("super_glue_wsc").get_dataset(None, "train")
    row = next(wsc.as_numpy_iterator())
    assert row["targets_pretokenized"] == b"1"
    assert row["inputs_pretokenized"].startswith(b"wsc text: ")


def test_the_real_copa(data_dir):
    vocabulary = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    super_glue_task_module.register(
        data_dir / "glue_superglue", vocabulary=str(vocabulary)
    )
    task = seqio.get_mixture_or_task("super_glue_copa_ranked")
    assert task.num_input_examples("train") == 400
    assert task.num_input_examples("validation") == 100
    rows = list(task.get_dataset(None, "validation", shuffle=False).as_numpy_iterator())
    assert rows[0]["inputs_pretokenized"] == (
        b"copa choice1: The toilet filled with water. choice2: Water flowed from the"
        b" spout. premise: The man turned on the faucet. question: effect"
    )
    assert [row["id"] for row in rows] == [str(i).encode() for i in range(100)]
    assert {row["targets"].size for row in rows} == {3}
    for row in rows:
        assert row["choices"][row["answer"]] == row["targets_pretokenized"]
