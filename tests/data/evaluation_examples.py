"""Tasks of a few rows, and how they are read: what tests of evaluation share."""

import json

import seqio
import tensorflow as tf

from hyperx.data import evaluation

VOCABULARY = seqio.ByteVocabulary()
LENGTHS = {"condition": 10, "inputs": 6, "prompt": 16, "targets": 8}
FEATURES = tuple(LENGTHS)


def examples(rows):
    for index, (condition, given, target, references, *_) in enumerate(rows):
        yield {
            "condition": condition,
            "inputs": given,
            "prompt": f"{condition}: {given}",
            "targets": target,
            "references": references,
            "task": f"task of {condition}",
            "category": "Strings",
            "id": str(100 + index),
        }


def dataset(rows):
    rows = list(rows)
    kinds = {str: ([], tf.string), list: ([None], tf.string), int: ([], tf.int32)}
    example = rows[0] if rows else next(examples([("", "", "", [])]))
    spec = {k: tf.TensorSpec(*kinds[type(v)]) for k, v in example.items()}
    return lambda split, shuffle_files, seed=None: tf.data.Dataset.from_generator(
        lambda: iter(rows), output_signature=spec
    )


def add(name, rows, **options):
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset(rows), splits=["test"]),
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={f: seqio.Feature(VOCABULARY, add_eos=True) for f in FEATURES},
        **options,
    )


def tokens(text, length):
    """As a row: end of sequence and padding."""
    ids = [*VOCABULARY.encode(text), 1]
    return ids + [0] * (length - len(ids))


def shown(conditions):
    return [VOCABULARY.decode(row.tolist()) for row in conditions]


def prepare(name="evaluation_one", reads="condition", lengths=LENGTHS, **options):
    return evaluation.Evaluation(name, "test", lengths, reads, **options)


def read_lines(folder, name):
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
