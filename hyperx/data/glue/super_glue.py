"""SuperGLUE (Wang et al. 2019): its data sets, with the fields and labels of T5.

As in text-to-text-transfer-transformer's preprocessors `glue`, `record`, `wsc` and
`wsc_simple` (Raffel et al. 2020, section 2.4 and appendix D).

WSC comes twice. In T5's answer to it, `WSC_REFERENT`, what a pronoun stands for is
named, and only the right names are trained on; in `WSC` both are marked and it is said
whether they belong together, which can be ranked and told in numbers.

NOTE: T5's mixture adds another data set of such pronouns to WSC, which is not here.
"""

import re
from typing import Any

from hyperx.data import records
from hyperx.data.glue import records as glue_records


def _parse_multirc(
    data_set: glue_records.DataSet, record: records.Record, place: str
) -> glue_records.Question:
    """An answer to a question about a paragraph: right or not."""
    number = glue_records.label(record, len(data_set.labels), place)
    paragraph, question, answer = _places(
        record, ("paragraph", "question", "answer"), place
    )
    text = data_set.text(record, place).replace("<br>", " ")
    return glue_records.Question(
        text=re.sub("</?b>", "", text),
        answers=(data_set.labels[number],),
        choices=data_set.labels,
        label=number,
        id=f"{paragraph}/{question}/{answer}",
        group=f"{paragraph}/{question}",
    )


def _parse_record(
    data_set: glue_records.DataSet, record: records.Record, place: str
) -> glue_records.Question:
    """A query with a gap, to be filled by an entity of the passage."""
    passage, query = _places(record, ("passage", "query"), place)
    answers = records.texts(record, "answers", place)
    if not answers:
        raise glue_records.hidden("answers, got none", place)
    entities = records.texts(record, "entities", place)
    # A highlight ends in a full stop, unless it ends in a mark already.
    told = re.sub(
        r"([.?!\"'])\n@highlight\n", r"\1 ", records.text(record, "passage", place)
    ).replace("\n@highlight\n", ". ")
    return glue_records.Question(
        text=(
            f"query: {records.text(record, 'query', place)} "
            f"entities: {', '.join(entities)} passage: {told}"
        ),
        answers=tuple(dict.fromkeys(answers)),
        choices=tuple(dict.fromkeys(entities)),
        label=-1,
        id=f"{passage}/{query}",
        group=f"{passage}/{query}",
    )


def _parse_wsc(
    data_set: glue_records.DataSet, record: records.Record, place: str
) -> glue_records.Question:
    """Whether a pronoun, between `#`, stands for what is between `*`."""
    text = records.text(record, "text", place)
    marks = sorted(
        (*_span(record, name, text, place), mark)
        for name, mark in (("span1", "*"), ("span2", "#"))
    )
    for start, stop, mark in reversed(marks):
        text = f"{text[:start]}{mark} {text[start:stop]} {mark}{text[stop:]}"
    number = glue_records.label(record, len(data_set.labels), place)
    name = glue_records.identity(record, "idx", place)
    return glue_records.Question(
        text=f"text: {text}",
        answers=(data_set.labels[number],),
        choices=data_set.labels,
        label=number,
        id=name,
        group=name,
    )


def _parse_referent(
    data_set: glue_records.DataSet, record: records.Record, place: str
) -> glue_records.Question:
    """What a pronoun, between `*`, stands for; with label 0, for what it does not."""
    del data_set
    text = records.text(record, "text", place).rstrip()
    start, stop = _span(record, "span2", text, place)
    after = text[stop:]
    space = "" if after[:1] in ("", " ") else " "
    name = glue_records.identity(record, "idx", place)
    return glue_records.Question(
        text=f"{text[:start]}*{text[start:stop]}*{space}{after}",
        answers=(records.text(record, "span1_text", place),),
        choices=(),
        label=glue_records.label(record, 2, place),
        id=name,
        group=name,
    )


def _span(record: records.Record, name: str, text: str, place: str) -> tuple[int, int]:
    """Where a span stands: the word of its index, or the next one.

    One text of the data gives the index of the word before.
    """
    span = records.text(record, f"{name}_text", place)
    index = int(glue_records.identity(record, f"{name}_index", place))
    starts = [0, *(space.end() for space in re.finditer(" ", text))]
    for start in starts[index : index + 2] if index >= 0 else ():
        stop = start + len(span)
        if text[start:stop] == span and not text[stop : stop + 1].isalnum():
            return start, stop
    raise records.MalformedRecord(
        f"{place}: {name}_index: expected the word of {span!r} in {text!r:.200}, got "
        f"{index}"
    )


def _places(
    record: records.Record, keys: tuple[str, ...], place: str
) -> tuple[str, ...]:
    """The numbers under the keys of `idx`."""
    idx = record.get("idx")
    if not isinstance(idx, dict):
        raise records.MalformedRecord(
            f"{place}: idx: expected an object of {keys}, got {idx!r:.80}"
        )
    return tuple(glue_records.identity(idx, key, f"{place}: idx") for key in keys)


def _super_glue(
    name: str, fields: str, labels: str, description: str, **kwargs: Any
) -> glue_records.DataSet:
    return glue_records.DataSet(
        benchmark="super_glue",
        name=name,
        fields=tuple(fields.split()),
        labels=tuple(labels.split()),
        description=description,
        **kwargs,
    )


BOOLQ = _super_glue(
    "boolq",
    "passage question",
    "False True",
    "Say whether the passage answers the question with yes.",
)
CB = _super_glue(
    "cb",
    "hypothesis premise",
    "entailment contradiction neutral",
    "Judge whether the premise implies the hypothesis, rules it out or leaves it open.",
)
COPA = _super_glue(
    "copa",
    "choice1 choice2 premise question",
    "choice1 choice2",
    "Choose what is more likely the cause or the effect, as the question says, of the"
    " premise.",
)
MULTIRC = _super_glue(
    "multirc",
    "question answer paragraph",
    "False True",
    "Say whether this answer to the question is right, going by the paragraph.",
    parse=_parse_multirc,
)
RECORD = _super_glue(
    "record",
    "query entities passage",
    "",
    "Name the entity of the passage that belongs in the place of @placeholder.",
    parse=_parse_record,
)
RTE = _super_glue(
    "rte",
    "hypothesis premise",
    "entailment not_entailment",
    "Judge whether the hypothesis follows from the premise.",
)
WIC = _super_glue(
    "wic",
    "sentence1 sentence2 word",
    "False True",
    "Say whether the word has the same meaning in both sentences.",
)
WSC = _super_glue(
    "wsc",
    "text",
    "False True",
    "Say whether the pronoun between # stands for the words between *.",
    parse=_parse_wsc,
    folder="wsc.fixed",
)
WSC_REFERENT = _super_glue(
    "wsc",
    "text",
    "",
    "Name what the pronoun between * stands for.",
    parse=_parse_referent,
    folder="wsc.fixed",
    prefix="wsc:",
    train_label=1,
)
DATA_SETS = (BOOLQ, CB, COPA, MULTIRC, RECORD, RTE, WIC, WSC)
