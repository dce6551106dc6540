"""SuperGLUE: texts sign for sign, and the special data sets."""

import pytest

from hyperx.data import records
from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import records as glue_records
from hyperx.data.glue import super_glue

MULTIRC = {
    "paragraph": "<b>Sent 1: </b>Ann ran.<br><b>Sent 2: </b>Bob sat.",
    "question": "Who <b>ran</b>?",
    "answer": "Ann",
    "idx": {"paragraph": 2, "question": 5, "answer": 11},
    "label": 1,
}
RECORD = {
    "passage": 'Ann met Bob.\n@highlight\nBob said "Hi"\n@highlight\nThey left'
    "\n@highlight\nAnn smiled",
    "query": "@placeholder was glad",
    "entities": ["Bob", "Ann", "Annie"],
    "answers": ["Ann", "Annie"],
    "idx": {"passage": 3, "query": 4},
}
WSC = {
    "text": "Ann asked the old man if he could sing.",
    "span1_text": "the old man",
    "span1_index": 2,
    "span2_text": "he",
    "span2_index": 6,
    "label": 1,
    "idx": 7,
}
RECORD_TEXT = (
    "record query: @placeholder was glad entities: Bob, Ann, Annie passage: Ann met"
    ' Bob. Bob said "Hi" They left. Ann smiled'
)
GOLDENS = [
    (
        super_glue.BOOLQ,
        {"question": "is it red", "passage": "Red.", "label": 1, "idx": 7},
        ("boolq passage: Red. question: is it red", "True", "1"),
    ),
    (
        super_glue.CB,
        {"premise": "It rains.", "hypothesis": "It is dry.", "label": 1, "idx": 7},
        ("cb hypothesis: It is dry. premise: It rains.", "contradiction", "1"),
    ),
    (
        super_glue.COPA,
        {
            "premise": "It rained.",
            "choice1": "I sang.",
            "choice2": "I got wet.",
            "question": "effect",
            "label": 1,
            "idx": 7,
        },
        (
            "copa choice1: I sang. choice2: I got wet. premise: It rained. question:"
            " effect",
            "choice2",
            "1",
        ),
    ),
    (
        super_glue.MULTIRC,
        MULTIRC,
        (
            "multirc question: Who ran? answer: Ann paragraph: Sent 1: Ann ran. Sent 2:"
            " Bob sat.",
            "True",
            "1",
        ),
    ),
    (super_glue.RECORD, RECORD, (RECORD_TEXT, "Ann", "Ann")),
    (
        super_glue.RTE,
        {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0, "idx": 7},
        ("rte hypothesis: It is wet. premise: It rains.", "entailment", "0"),
    ),
    (
        super_glue.WIC,
        {
            "word": "bank",
            "sentence1": "A river bank.",
            "sentence2": "A bank note.",
            **dict(start1=8, start2=2, end1=12, end2=6, label=0, idx=7),
        },
        (
            "wic sentence1: A river bank. sentence2: A bank note. word: bank",
            "False",
            "0",
        ),
    ),
    (
        super_glue.WSC,
        WSC,
        ("wsc text: Ann asked * the old man * if # he # could sing.", "True", "1"),
    ),
    (
        super_glue.WSC_REFERENT,
        WSC,
        (
            "wsc: Ann asked the old man if *he* could sing.",
            "the old man",
            "the old man",
        ),
    ),
]


def rows_of(data_set, *several, train=False, **options):
    questions = [data_set.parse(data_set, record, "a:1") for record in several]
    form = glue_format.Format(**options)
    return list(glue_format.rows(questions, data_set, form, train=train))


@pytest.mark.parametrize(("data_set", "record", "texts"), GOLDENS)
def test_the_published_texts_sign_for_sign(data_set, record, texts):
    inputs, word, number = texts
    (row,) = rows_of(data_set, record)
    assert (row["inputs"], row["prompt"], row["targets"]) == (inputs, inputs, word)
    assert row["condition"] == data_set.name
    assert row["task"] == f"super_glue_{data_set.name}"
    (row,) = rows_of(data_set, record, targets="numbers")
    assert (row["inputs"], row["targets"]) == (inputs, number)


def test_multirc_and_record_know_their_groups():
    (row,) = rows_of(super_glue.MULTIRC, MULTIRC)
    assert (row["id"], row["group"]) == ("2/5/11", "2/5")
    (row,) = rows_of(super_glue.RECORD, RECORD)
    assert (row["id"], row["group"]) == ("3/4", "3/4")
    assert (row["references"], row["label"]) == (["Ann", "Annie"], -1)


def test_record_is_trained_on_once_for_each_answer():
    rows = rows_of(super_glue.RECORD, RECORD, train=True)
    assert [row["targets"] for row in rows] == ["Ann", "Annie"]
    assert [row["id"] for row in rows] == ["3/4/0", "3/4/1"]
    assert {row["inputs"] for row in rows} == {RECORD_TEXT}
    rows = rows_of(super_glue.RECORD, RECORD, train=True, ranked=True)
    assert [row["answer"] for row in rows] == [1, 2]
    assert rows[0]["choices"] == ["Bob", "Ann", "Annie"]


def test_right_referents_alone_are_trained_on():
    wrong = WSC | {"label": 0, "span1_text": "Ann", "span1_index": 0}
    rows = rows_of(super_glue.WSC_REFERENT, WSC, wrong, train=True)
    assert [row["targets"] for row in rows] == ["the old man"]
    rows = rows_of(super_glue.WSC_REFERENT, WSC, wrong)
    assert [(row["targets"], row["label"]) for row in rows] == [
        ("the old man", 1),
        ("Ann", 0),
    ]
    rows = rows_of(super_glue.WSC, WSC, wrong, train=True, ranked=True)
    assert [row["answer"] for row in rows] == [1, 0]
    assert rows[1]["inputs"].startswith("wsc text: * Ann * asked")


@pytest.mark.parametrize(
    ("text", "index", "referent"),
    [
        ('"Good for him," he said. ', 2, '"Good for *him* ," he said.'),
        ("They want to use him now", 3, "They want to use *him* now"),
        ("Tell him", 1, "Tell *him*"),
    ],
)
def test_pronouns_beside_their_index(text, index, referent):
    """Two texts of the data have a pronoun with a comma, or before its index."""
    record = WSC | {"text": text, "span2_text": "him", "span2_index": index}
    (row,) = rows_of(super_glue.WSC_REFERENT, record)
    assert row["inputs"] == f"wsc: {referent}"


@pytest.mark.parametrize(
    ("data_set", "record", "message"),
    [
        (
            super_glue.WSC,
            WSC | {"span2_index": 1},
            "span2_index: expected the word of 'he' in 'Ann asked .*, got 1",
        ),
        (super_glue.WSC, WSC | {"span1_index": 99}, "span1_index: .* got 99"),
        (super_glue.MULTIRC, MULTIRC | {"idx": 3}, "idx: expected an object of .*3"),
        (
            super_glue.RECORD,
            RECORD | {"idx": {"passage": 3}},
            "idx: query: expected a number, got None",
        ),
        (super_glue.RECORD, RECORD | {"entities": "Bob"}, "entities: expected a list"),
        (
            super_glue.CB,
            GOLDENS[1][1] | {"label": 3},
            "label: expected a number of 0 to 2, got 3",
        ),
    ],
)
def test_malformed_records_are_named(data_set, record, message):
    with pytest.raises(records.MalformedRecord, match=f"a:1: {message}"):
        rows_of(data_set, record)


def test_what_cannot_be_ranked_is_malformed():
    for change in ({"entities": ["Ann"]}, {"entities": ["Ann", "Bob"]}):
        with pytest.raises(
            records.MalformedRecord, match=r"a:1: .* of the answers \['Ann', 'Annie'\]"
        ):
            rows_of(glue_format.rankable(super_glue.RECORD), RECORD | change)


@pytest.mark.parametrize(
    ("data_set", "record"),
    [(super_glue.RECORD, RECORD | {"answers": []})]
    + [(s, r | {"label": -1}) for s, r, _ in GOLDENS if s != super_glue.RECORD],
)
def test_hidden_answers_are_refused(data_set, record):
    with pytest.raises(glue_records.HiddenLabel, match="a:1: .* on `validation`"):
        rows_of(data_set, record)
