"""Three families of tasks in one mixture: trained together, evaluated in one job."""

import json

import pytest
from tiny_runs import one_device  # noqa: F401

from hyperx import cli

LENGTHS = dict(condition=96, inputs=64, prompt=128, targets=16)
# The nine test tasks of Super-NaturalInstructions; two prompts of COPA; a target task.
TESTED = (
    "super_ni_def_pos_2",
    "p3_super_glue_copa_best_option_score_eval",
    "p3_super_glue_copa_more_likely_score_eval",
    "metaicl_superglue_copa_13",
)


@pytest.fixture
def arguments(data_dir, tmp_path):
    vocabulary = data_dir / "vocab" / "cc_all.32000" / "sentencepiece.model"
    values = {
        "MODEL_DIR": str(tmp_path / "out"),
        "SUPER_NI_DIR": str(data_dir / "natural-instructions"),
        "P3_DIR": str(data_dir / "p3"),
        "METAICL_DIR": str(data_dir / "metaicl"),
        "VOCABULARY": str(vocabulary),
        "VOCAB_SIZE": 32_128,
        "TASK_FEATURE_LENGTHS": LENGTHS,
        "RATES": {
            "super_ni_def_pos_2": 1.0,
            "p3_t0_train": 1.0,
            "metaicl_permissive_hr_to_lr_train": 2.0,
        },
        "TESTED": {
            "super_ni_def_pos_2": 1.0,
            "p3_t0_eval": 1.0,
            "metaicl_permissive_hr_to_lr": 1.0,
        },
        "BATCH_SIZE": 8,
        "ROWS": 2,
        "TRAIN_STEPS": 2,
        "LOG_PERIOD": 1,
        "EVAL_EXAMPLES": 2,
        "EVAL_GROUPS": 2,
        "EVAL_ROWS": 4,
    }
    files = (
        "runs/super_ni.gin",
        "backbones/t5_1_1_tiny.gin",
        "methods/hint.gin",
        "data/super_ni_p3_metaicl.gin",
    )
    given = [f"--gin_file={file}" for file in files]
    return given + [f"--gin.{name}={value!r}" for name, value in values.items()]


def test_trained_together_and_evaluated_in_one_job(arguments, tmp_path, capsys):
    assert cli.main(["train", *arguments]) == 0
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2
    capsys.readouterr()

    pattern = "|".join(TESTED)
    argv = ["eval", f"--model_dir={tmp_path / 'out'}", f"--tasks={pattern}"]
    assert cli.main([*argv, "--gin.EVAL_CONTROLS=('matched',)"]) == 0
    (summary,) = (tmp_path / "out" / "eval").glob("metrics-*-2.json")
    metrics = json.loads(summary.read_text())["metrics"]["matched"]
    assert metrics.keys() == set(TESTED)
    assert {"rougeL", "exact_match"} <= metrics["super_ni_def_pos_2"].keys()
    for name in TESTED[1:]:
        assert metrics[name]["accuracy"] in (0.0, 50.0, 100.0)
