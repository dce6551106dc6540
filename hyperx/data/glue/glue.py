"""GLUE (Wang et al. 2019): its data sets, with the fields and labels of T5.

As in T5 (Raffel et al. 2020, appendix D; text-to-text-transfer-transformer's `glue`), a
text is its fields in alphabetical order, and labels are words; see `formats`.
"""

from typing import Any

import numpy as np

from hyperx.data import records
from hyperx.data.glue import records as glue_records

SCORES = tuple(f"{number / 5:.1f}" for number in range(26))  # of STS-B, in T5's steps


def _parse_scored(
    data_set: glue_records.DataSet, record: records.Record, place: str
) -> glue_records.Question:
    """A question of STS-B: the score, 0 to 5, in steps of 0.2 as T5 rounds it."""
    value = record.get("label")
    if value == -1:
        raise glue_records.hidden("a score of 0 to 5, got -1", place)
    if type(value) not in (int, float) or not 0 <= value <= 5:
        raise records.MalformedRecord(
            f"{place}: label: expected a score of 0 to 5, got {value!r:.80}"
        )
    # In 32 bits: some scores lie halfway between two steps only there.
    number = int(np.round(np.float32(value) * np.float32(5)))
    name = glue_records.identity(record, "idx", place)
    return glue_records.Question(
        text=data_set.text(record, place),
        answers=(SCORES[number],),
        choices=SCORES,
        label=number,
        id=name,
        group=name,
    )


def _glue(name: str, fields: str, labels: str, description: str, **kwargs: Any):
    return glue_records.DataSet(
        benchmark="glue",
        name=name,
        fields=tuple(fields.split()),
        labels=tuple(labels.split()),
        description=description,
        **kwargs,
    )


COLA = _glue(
    "cola",
    "sentence",
    "unacceptable acceptable",
    "Judge whether the sentence is correct English grammar.",
)
SST2 = _glue(
    "sst2",
    "sentence",
    "negative positive",
    "Judge whether this part of a film review is favourable.",
)
MRPC = _glue(
    "mrpc",
    "sentence1 sentence2",
    "not_equivalent equivalent",
    "Judge whether the two sentences from the news say the same.",
)
QQP = _glue(
    "qqp",
    "question1 question2",
    "not_duplicate duplicate",
    "Judge whether the two questions ask for the same.",
)
STSB = _glue(
    "stsb",
    "sentence1 sentence2",
    "",
    "Rate how similar the two sentences are in meaning, from 0.0 (not at all) to 5.0"
    " (the same), in steps of 0.2.",
    parse=_parse_scored,
)
MNLI = _glue(
    "mnli",
    "hypothesis premise",
    "entailment neutral contradiction",
    "Judge whether the premise implies the hypothesis, leaves it open or rules it out.",
)
QNLI = _glue(
    "qnli",
    "question sentence",
    "entailment not_entailment",
    "Judge whether the sentence holds the answer to the question.",
)
RTE = _glue(
    "rte",
    "sentence1 sentence2",
    "entailment not_entailment",
    "Judge whether the second sentence follows from the first.",
)
WNLI = _glue(
    "wnli",
    "sentence1 sentence2",
    "not_entailment entailment",
    "The second sentence says what a pronoun of the first stands for. Judge whether it"
    " follows from the first.",
)
DATA_SETS = (COLA, SST2, MRPC, QQP, STSB, MNLI, QNLI, RTE, WNLI)
