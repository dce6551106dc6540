"""P3: which data sets T0 was trained and evaluated on, and how they were mixed.

The table is that of bigscience-workshop/t-zero (`t0/datasets.csv`; Sanh et al. 2022).
Pure Python.

NOTE: the paper says CommonsenseQA where the table, and so the mixtures here, have
`cos_e`; prompts of `commonsense_qa` are in no mixture.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LARGEST = 500_000  # examples of a data set that count
SCORE_EVAL = "_score_eval"

# By the groups of the column `train`: T0 (`BASE`); T0+ adds data sets that GPT-3 was
# evaluated on, T0++ also those of SuperGLUE but RTE and CB.
TRAINING = {
    "p3_t0_train": ("BASE",),
    "p3_t0_plus_train": ("BASE", "GPT_EVAL"),
    "p3_t0_plus_plus_train": ("BASE", "GPT_EVAL", "SGLUE"),
}
HELD_OUT = "p3_t0_eval"


class Dataset(NamedTuple):
    """A row of the table.

    Attributes:
      name: on the Hugging Face hub in 2021.
      subset: its configuration there, if it has several.
      train: the group that trains on it, if one does.
      evaluation: the group that is evaluated on it, if one is.
      size: training examples; None if it has none.
      templates: how many it has, where the size of each depends on that.
    """

    name: str
    subset: str | None
    train: str | None
    evaluation: str | None
    size: int | None
    templates: int | None = None

    @property
    def group(self) -> str:
        """How its configurations begin."""
        return configuration(self.name, self.subset)

    @property
    def rate(self) -> int:
        """The mixing rate of each of its templates."""
        size = self.size or 0
        return size if size <= LARGEST else LARGEST // (self.templates or 1)


def configuration(*parts: str | None) -> str:
    """The name in P3 of a data set, its subset, if any, and a template.

    What is no letter, digit, `_` or `.` is written `_`, once for several in a row.
    """
    return re.sub(r"[^\w.]+", "_", "_".join(part for part in parts if part))


DATASETS = (
    Dataset("crows_pairs", None, None, "BIAS_FAIRNESS", None),
    Dataset("jigsaw_toxicity_pred", None, None, "BIAS_FAIRNESS", None),
    Dataset("super_glue", "axg", None, "BIAS_FAIRNESS", None),
    Dataset("wino_bias", "type1_anti", None, "BIAS_FAIRNESS", None),
    Dataset("wino_bias", "type2_anti", None, "BIAS_FAIRNESS", None),
    Dataset("wino_bias", "type1_pro", None, "BIAS_FAIRNESS", None),
    Dataset("wino_bias", "type2_pro", None, "BIAS_FAIRNESS", None),
    Dataset("super_glue", "wsc.fixed", "SGLUE", "BASE", 554),
    Dataset("winogrande", "winogrande_xl", None, "BASE", 40_398),
    Dataset("super_glue", "cb", None, "BASE", 250),
    Dataset("super_glue", "rte", None, "BASE", 2_490),
    Dataset("anli", None, None, "BASE", 162_865),
    Dataset("glue", "mrpc", "BASE", None, 3_668),
    Dataset("glue", "qqp", "BASE", None, 363_846),
    Dataset("paws", "labeled_final", "BASE", None, 49_401),
    Dataset("ai2_arc", "ARC-Challenge", "GPT_EVAL", None, 1_119),
    Dataset("ai2_arc", "ARC-Easy", "GPT_EVAL", None, 2_251),
    Dataset("kilt_tasks", "hotpotqa", "BASE", None, 88_869),
    Dataset("trivia_qa", "unfiltered", "GPT_EVAL", None, 87_622),
    Dataset("web_questions", None, "GPT_EVAL", None, 3_778),
    Dataset("wiki_qa", None, "BASE", None, 20_360),
    Dataset("adversarial_qa", "dbidaf", "BASE", None, 10_000),
    Dataset("adversarial_qa", "dbert", "BASE", None, 10_000),
    Dataset("adversarial_qa", "droberta", "BASE", None, 10_000),
    Dataset("duorc", "SelfRC", "BASE", None, 60_721),
    Dataset("duorc", "ParaphraseRC", "BASE", None, 69_524),
    Dataset("ropes", None, "BASE", None, 10_924),
    Dataset("squad_v2", None, "GPT_EVAL", None, 130_319),
    Dataset("super_glue", "record", "SGLUE", None, 100_730),
    Dataset("quoref", None, "BASE", None, 19_399),
    Dataset("cos_e", "v1.11", "BASE", None, 9_741),
    Dataset("cosmos_qa", None, "BASE", None, 25_262),
    Dataset("dream", None, "BASE", None, 6_116),
    Dataset("openbookqa", "main", "GPT_EVAL", None, 4_957),
    Dataset("qasc", None, "BASE", None, 8_134),
    Dataset("quail", None, "BASE", None, 10_246),
    Dataset("quarel", None, "BASE", None, 1_941),
    Dataset("quartz", None, "BASE", None, 2_696),
    Dataset("race", "high", "GPT_EVAL", None, 62_445),
    Dataset("race", "middle", "GPT_EVAL", None, 25_421),
    Dataset("sciq", None, "BASE", None, 11_679),
    Dataset("social_i_qa", None, "BASE", None, 33_410),
    Dataset("super_glue", "boolq", "SGLUE", None, 9_427),
    Dataset("super_glue", "copa", "SGLUE", "BASE", 400),
    Dataset("super_glue", "multirc", "SGLUE", None, 27_243),
    Dataset("wiki_hop", "original", "BASE", None, 43_738),
    Dataset("wiqa", None, "BASE", None, 29_808),
    Dataset("piqa", None, "GPT_EVAL", None, 16_113),
    Dataset("amazon_polarity", None, "BASE", None, 3_600_000, templates=9),
    Dataset("app_reviews", None, "BASE", None, 288_065),
    Dataset("imdb", None, "BASE", None, 25_000),
    Dataset("rotten_tomatoes", None, "BASE", None, 8_530),
    Dataset("yelp_review_full", None, "BASE", None, 650_000, templates=7),
    Dataset("story_cloze", "2016", None, "BASE", None),
    Dataset("hellaswag", None, "GPT_EVAL", "BASE", 39_905),
    Dataset("common_gen", None, "BASE", None, 67_389),
    Dataset("wiki_bio", None, "BASE", None, 582_659, templates=5),
    Dataset("cnn_dailymail", "3.0.0", "BASE", None, 287_113),
    Dataset("gigaword", None, "BASE", None, 3_803_957, templates=9),
    Dataset("multi_news", None, "BASE", None, 44_972),
    Dataset("samsum", None, "BASE", None, 14_732),
    Dataset("xsum", None, "BASE", None, 204_045),
    Dataset("ag_news", None, "BASE", None, 120_000),
    Dataset("dbpedia_14", None, "BASE", None, 560_000, templates=4),
    Dataset("trec", None, "BASE", None, 5_452),
    Dataset("super_glue", "wic", "SGLUE", "BASE", 5_428),
)

# Prompts that T0 does not train on: often of more than 1,024 tokens, or (the last one)
# damaged in its cache (t-zero, `t0/seqio_tasks/tasks.py`).
LEFT_OUT = frozenset(
    [
        f"hotpot_qa_{subset}_Generate_{what}"
        for subset in ("distractor", "fullwiki")
        for what in (
            "Explanations",
            "Answer_and_Explanations",
            "Answer",
            "Title_1",
            "Title_2",
            "Question",
        )
    ]
    + [f"tab_fact_tab_fact_tab_fact_{number}" for number in range(1, 8)]
    + [
        "wiki_hop_masked_Choose_Best_Object_Candidate",
        "wiki_hop_masked_Indirect_Question_about_Birthplace_Citizenship_Place_of_Death",
        "narrativeqa_Template_05",
        "ecthr_cases_alleged_violation_prediction_silver_rationales",
        "gigaword_summarize_",
    ]
)

# Of held-out data sets, the prompts that ask something else than the data set does
# (promptsource's `original_task`): T0 is not evaluated on them.
NOT_ORIGINAL = frozenset(
    {
        "hellaswag_Appropriate_continuation_Yes_or_No",
        "hellaswag_Open_ended_completion",
        "hellaswag_Open_ended_start",
        "hellaswag_Reversed_appropriate_continuation_Yes_or_No",
        "hellaswag_Topic_of_the_context",
        "hellaswag_Topic_without_the_ending_answer",
        "hellaswag_how_ends",
        "story_cloze_2016_Generate_Ending",
        "winogrande_winogrande_xl_True_or_False",
    }
)


@functools.cache
def dataset_of(name: str) -> Dataset | None:
    """The data set in the table that a configuration is of, if it is there."""
    found = [row for row in DATASETS if name.startswith(f"{row.group}_")]
    return max(found, key=lambda row: len(row.group), default=None)


def without_round(name: str) -> str:
    """The configuration in promptsource: ANLI has one for its three rounds."""
    return re.sub(r"^(anli_.*)_r[123]$", r"\1", name)


def group_of(name: str) -> str:
    """What is averaged over the templates of: the data set, each round of ANLI apart.

    Args:
      name: of a configuration, with or without `_score_eval`.
    """
    name = name.removesuffix(SCORE_EVAL)
    dataset = dataset_of(name)
    return dataset.group + name[len(without_round(name)) :] if dataset else name


def members(mixture: str, configurations: Iterable[str]) -> Mapping[str, int]:
    """Of the configurations, those in a mixture of T0, with their mixing rates.

    Args:
      mixture: of `TRAINING`, or `HELD_OUT`, of whose prompts all weigh the same.
      configurations: those there are.
    """
    if mixture not in (*TRAINING, HELD_OUT):
        known = [*TRAINING, HELD_OUT]
        raise ValueError(f"expected a mixture of {known}, got {mixture!r}")
    if mixture == HELD_OUT:
        return {name: 1 for name in configurations if _is_held_out(name)}
    groups = TRAINING[mixture]
    rates = {}
    for name in configurations:
        dataset = dataset_of(name)
        is_plain = not name.endswith(SCORE_EVAL) and name not in LEFT_OUT
        if is_plain and dataset is not None and dataset.train in groups:
            rates[name] = dataset.rate
    return rates


def missing(mixture: str, configurations: Iterable[str]) -> tuple[str, ...]:
    """The data sets of a mixture of T0 that no configuration is of.

    Args:
      mixture: of `TRAINING`, or `HELD_OUT`.
      configurations: those there are.
    """
    present = {dataset_of(name) for name in members(mixture, configurations)}
    wanted = [
        row
        for row in DATASETS
        if (mixture == HELD_OUT and row.evaluation == "BASE")
        or row.train in TRAINING.get(mixture, ())
    ]
    return tuple(row.group for row in wanted if row not in present)


def _is_held_out(name: str) -> bool:
    dataset = dataset_of(name)
    return (
        name.endswith(SCORE_EVAL)
        and dataset is not None
        and dataset.evaluation == "BASE"
        and name.removesuffix(SCORE_EVAL) not in NOT_ORIGINAL
    )
