"""GLUE and SuperGLUE against text-to-text-transfer-transformer, where it is installed.

Its preprocessors, postprocessors and metrics are run on rows of random words; columns
and labels are those of TensorFlow Datasets. Install it with `pip install --no-deps t5`,
babel and sacrebleu: its own dependencies would replace seqio by another build.
"""

import random

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from hyperx.data.glue import formats as glue_format
from hyperx.data.glue import glue, super_glue
from hyperx.tasks import glue as glue_task_module
from hyperx.tasks import super_glue as super_glue_task_module

t5_glue = pytest.importorskip("t5.data.glue_utils", exc_type=ImportError)
t5_metrics = pytest.importorskip("t5.evaluation.metrics", exc_type=ImportError)
t5_postprocessors = pytest.importorskip("t5.data.postprocessors", exc_type=ImportError)
t5_preprocessors = pytest.importorskip("t5.data.preprocessors", exc_type=ImportError)

WORDS = [
    "the",
    "a",
    "Ann",
    "Bob's",
    "red",
    "(",
    "sat",
    ".",
    '"',
    "it's",
    "<b>x</b>",
    "<br>",
    "é",
]
CLASSIFIED = [
    s
    for s in (*glue.DATA_SETS, *super_glue.DATA_SETS)
    if s not in (glue.STSB, super_glue.RECORD, super_glue.WSC)
]


def builder(data_set):
    """What TensorFlow Datasets says of a data set: name, labels, columns."""
    module = {"glue": tfds.text.glue.Glue, "super_glue": tfds.text.super_glue.SuperGlue}
    name = data_set.folder or data_set.name
    return module[data_set.benchmark].builder_configs[name]


def words(rng, count=6):
    return " ".join(rng.choices(WORDS, k=count))


def t5_rows(record, preprocess):
    dataset = preprocess(tf.data.Dataset.from_tensors(record))
    return [
        {k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()}
        for row in dataset.as_numpy_iterator()
    ]


def our_rows(record, data_set, train=False):
    question = data_set.parse(data_set, record, "here")
    form = glue_format.Format()
    return list(glue_format.rows([question], data_set, form, train=train))


def check(record, data_set, preprocess, train=False):
    theirs, ours = t5_rows(record, preprocess), our_rows(record, data_set, train)
    assert [(row["inputs"], row["targets"]) for row in ours] == [
        (row["inputs"], row["targets"]) for row in theirs
    ]


@pytest.mark.parametrize("data_set", CLASSIFIED, ids=lambda s: s.task)
def test_texts_of_labels(data_set):
    rng = random.Random(data_set.task)
    config = builder(data_set)
    assert tuple(config.label_classes) == data_set.labels
    preprocess = t5_glue.get_glue_text_preprocessor(config)
    named = "text_features" if data_set.benchmark == "glue" else "features"
    columns = ["word"] * (data_set.name == "wic") + list(getattr(config, named))
    for label in range(len(data_set.labels)):
        record = {name: words(rng) for name in columns} | {"label": label, "idx": 3}
        if data_set.name == "multirc":
            record["idx"] = {"paragraph": 1, "question": 2, "answer": 3}
        check(record, data_set, preprocess)


def test_texts_of_scores():
    """In 64 and, as of Parquet, in 32 bits."""
    scores = np.arange(501) / 100
    columns = {"sentence1": "a", "sentence2": "b", "idx": 0}
    dataset = tf.data.Dataset.from_tensor_slices(scores.astype(np.float32))
    dataset = dataset.map(lambda score: columns | {"label": score})
    preprocess = t5_glue.get_glue_text_preprocessor(builder(glue.STSB))
    theirs = preprocess(dataset).as_numpy_iterator()
    for score, row in zip(scores, theirs, strict=True):
        expected = (row["inputs"].decode(), row["targets"].decode())
        for label in (float(score), float(np.float32(score))):
            (ours,) = our_rows(columns | {"label": label}, glue.STSB)
            assert (ours["inputs"], ours["targets"]) == expected


def test_texts_of_record():
    rng = random.Random(0)
    for _ in range(20):
        ends = [rng.choice(["", ".", "!", "?", '"', "'"]) for _ in range(4)]
        passage = "\n@highlight\n".join(words(rng) + end for end in ends)
        entities = rng.sample(["Ann", "Bob", "Cy", "the Di"], 3)
        record = {
            **dict(passage=passage, query="@placeholder " + words(rng)),
            **dict(entities=entities, answers=entities[: rng.randint(1, 3)]),
            "idx": {"passage": 1, "query": 2},
        }
        check(record, super_glue.RECORD, t5_preprocessors.record, train=True)


def wsc(text, span1, span2, label=1):
    indices = {"span1_index": np.int32(span1[0]), "span2_index": np.int32(span2[0])}
    record = {"text": text, "span1_text": span1[1], "span2_text": span2[1]}
    theirs = record | indices | {"label": np.int32(label), "idx": np.int32(0)}
    return theirs, {k: int(v) if k not in record else v for k, v in theirs.items()}


def test_texts_of_wsc():
    text = "Ann told the old man , whom she knew , that he sang ."
    for span1, label in (((0, "Ann"), 0), ((2, "the old man"), 1)):
        theirs, ours = wsc(text, span1, (11, "he"), label)
        (expected,) = t5_rows(theirs, t5_preprocessors.wsc)
        (row,) = our_rows(ours, super_glue.WSC)
        assert (row["inputs"], row["targets"]) == (
            expected["inputs"],
            expected["targets"],
        )
        for train in (False, True):
            expected = t5_rows(
                theirs,
                lambda ds, only=train: t5_preprocessors.wsc_simple(
                    ds, correct_referent_only=only
                ),
            )
            rows = our_rows(ours, super_glue.WSC_REFERENT, train)
            assert [(row["inputs"], row["targets"], row["label"]) for row in rows] == [
                (row["inputs"], row["targets"], row["label"]) for row in expected
            ]


def random_answers(rng, data_set):
    """Targets, and what may be said: right, another label, or nonsense."""
    texts = data_set.labels or glue.SCORES
    nonsense = ["", "nonsense", texts[0].title() + " "]
    targets, said = [], []
    for number in range(60):
        label = rng.randrange(len(texts))
        target = {"references": [texts[label]], "labels": texts, "label": label}
        targets.append(target | {"group": f"0/{number // 3}"})
        options = [texts[label]] * 6 + [rng.choice(texts)] * 2 + nonsense
        said.append(rng.choice(options))
    return targets, said


MEMBERS = [
    m
    for m in (*glue_task_module.MEMBERS, *super_glue_task_module.MEMBERS)
    if m.data_set != super_glue.RECORD and "train" in m.splits
]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.name)
def test_scores(member):
    rng = random.Random(member.name)
    config = builder(member.data_set)
    post = t5_glue.get_glue_postprocess_fn(config)
    is_glue = member.data_set.benchmark == "glue"
    of_name = t5_glue.get_glue_metric if is_glue else t5_glue.get_super_glue_metric
    for _ in range(5):
        targets, said = random_answers(rng, member.data_set)
        ours = member.metric(targets, said)
        expected = [
            post(t["references"][0], {"idx/question": t["group"]}, is_target=True)
            if member.data_set == super_glue.MULTIRC
            else post(t["references"][0])
            for t in targets
        ]
        theirs = {}
        for metric in of_name(config.name):
            theirs |= metric(expected, [post(text) for text in said])
        values = [value for name, value in ours.items() if name != "mean"]
        assert values == pytest.approx(list(theirs.values()))
        assert ours.get("mean", values[0]) == pytest.approx(np.mean(values))


def test_scores_of_record():
    rng = random.Random(1)
    names = ["the New York Times", "Times", "Bob Ray", "bob", "Ann", ""]
    targets, ours, said = [], [], []
    for number in range(80):
        group, answers = (1, number // 2), rng.sample(names[:-1], rng.randint(1, 3))
        targets.append({"group": group, "value": answers})
        ours.append({"group": str(group), "references": answers})
        said.append(rng.choice(names).replace("e", "e."))
    (metric,) = t5_glue.get_super_glue_metric("record")
    theirs = metric(targets, [{"value": text} for text in said])
    (member,) = (
        m for m in super_glue_task_module.MEMBERS if m.data_set == super_glue.RECORD
    )
    scores = member.metric(ours, said)
    assert scores["f1"] == pytest.approx(theirs["f1"])
    assert scores["exact_match"] == pytest.approx(theirs["em"])


def test_scores_of_referents():
    rng = random.Random(2)
    texts = ["Bob", "the Bob", "Bob's hat", "his hat", "a  hat ", "", "the", "Old hat"]
    targets, predictions, ours, said = [], [], [], []
    for _ in range(200):
        candidate, text, label = (
            rng.choice(texts[:4]),
            rng.choice(texts),
            rng.choice([0, 1]),
        )
        example = {"label": label, "targets_pretokenized": candidate}
        targets.append(t5_postprocessors.wsc_simple("", example, is_target=True))
        predictions.append(t5_postprocessors.wsc_simple(text, example))
        ours.append({"references": [candidate], "label": label})
        said.append(text)
    metric = super_glue_task_module.WSC_REFERENT.metric
    assert metric(ours, said) == pytest.approx(
        t5_metrics.accuracy(targets, predictions)
    )
