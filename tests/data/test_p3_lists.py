"""T0's mixtures of P3, and what is averaged over templates."""

import csv
import os
import pathlib

import pytest

from hyperx.data.p3 import lists as p3_lists
from hyperx.data.p3 import metrics as p3_metrics
from hyperx.data.p3 import promptsource

REPOSITORY = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
    os.environ.get("HYPERX_TEST_DATA", REPOSITORY.parent / "shared" / "data")
)
P3 = DATA / "p3"

needs_data = pytest.mark.skipif(not P3.is_dir(), reason="no P3 at hand")


def test_mixing_rates_by_hand():
    rates = {
        "amazon_polarity_a": 55_555,
        "gigaword_a": 55_555,
        "yelp_review_full_a": 71_428,
        "wiki_bio_a": 100_000,
        "dbpedia_14_a": 125_000,
        "glue_qqp_a": 363_846,
        "quarel_a": 1_941,
    }
    others = [
        "gigaword_summarize_",
        "quarel_a_score_eval",
        "super_glue_copa_a",
        "openbookqa_main_a",
        "commonsense_qa_a",
    ]
    assert p3_lists.members("p3_t0_train", [*rates, *others]) == rates
    plus = p3_lists.members("p3_t0_plus_train", others)
    assert plus == {"openbookqa_main_a": 4_957}
    plus_plus = p3_lists.members("p3_t0_plus_plus_train", others)
    assert plus_plus == {"openbookqa_main_a": 4_957, "super_glue_copa_a": 400}


def test_held_out_prompts():
    held_out = ["hellaswag_if_begins_how_continues", "anli_can_we_infer_r3"]
    others = ["hellaswag_how_ends", "quarel_a", "super_glue_boolq_a"]
    names = [name + "_score_eval" for name in held_out + others] + held_out
    found = p3_lists.members("p3_t0_eval", names)
    assert found == {name + "_score_eval": 1 for name in held_out}
    missing = p3_lists.missing("p3_t0_eval", names)
    assert len(missing) == 7
    assert "super_glue_copa" in missing
    with pytest.raises(ValueError, match="expected a mixture of .*, got 'p3_t0'"):
        p3_lists.members("p3_t0", names)


def test_groups():
    assert p3_lists.group_of("anli_GPT_3_style_r2_score_eval") == "anli_r2"
    assert p3_lists.group_of("super_glue_rte_x_r2") == "super_glue_rte"
    assert p3_lists.group_of("unknown_x_score_eval") == "unknown_x"
    assert p3_lists.without_round("anli_GPT_3_style_r2") == "anli_GPT_3_style"


def test_median_and_spread_by_hand():
    values = {f"super_glue_rte_{n}": n for n in (1.0, 2.0, 3.0, 10.0)}
    figures = p3_metrics.over_templates(values | {"anli_x_r1_score_eval": 40.0})
    assert figures["super_glue_rte"] == 2.5
    assert figures["super_glue_rte/mean"] == 4.0
    assert (figures["super_glue_rte/min"], figures["super_glue_rte/max"]) == (1, 10)
    assert figures["super_glue_rte/q1"] == 1.75
    assert figures["super_glue_rte/q3"] == 4.75
    assert figures["mean"] == (2.5 + 40) / 2
    assert figures["mean_of_means"] == (4 + 40) / 2


@needs_data
def test_the_table_is_that_of_t0():
    with open(P3 / "t0_datasets.csv", encoding="utf-8") as file:
        rows = [
            (
                row["HF_name"],
                row["subset"] or None,
                row["do_train"] or None,
                row["do_eval"] or None,
                int(row["train_size"]) if row["train_size"] else None,
            )
            for row in csv.DictReader(file)
        ]
    assert [tuple(row[:5]) for row in p3_lists.DATASETS] == rows


@needs_data
def test_the_lists_agree_with_the_templates():
    templates = promptsource.read_folder(P3 / "promptsource_templates")
    for name, template in templates.items():
        dataset = p3_lists.dataset_of(name)
        if dataset is not None:
            assert (dataset.name, dataset.subset) == (template.dataset, template.subset)
    names = [*templates, *(name + "_score_eval" for name in templates)]
    held_out = [
        name.removesuffix("_score_eval")
        for name in p3_lists.members("p3_t0_eval", names)
    ]
    assert all(templates[name].original_task for name in held_out)
    assert {
        name
        for name, template in templates.items()
        if (p3_lists.dataset_of(name) or p3_lists.DATASETS[12]).evaluation == "BASE"
        and not template.original_task
    } == p3_lists.NOT_ORIGINAL
    assert len(held_out) == 95 - len(p3_lists.NOT_ORIGINAL)
    for dataset in p3_lists.DATASETS:
        if dataset.templates:
            of_set = [n for n in templates if p3_lists.dataset_of(n) == dataset]
            assert len(of_set) == dataset.templates
    sizes = [len(p3_lists.members(mixture, names)) for mixture in p3_lists.TRAINING]
    # Of what is left out, no prompt is among today's templates of these sets.
    assert sizes == [313, 313 + 79, 313 + 79 + 72]
    assert len(p3_lists.LEFT_OUT) == 24
