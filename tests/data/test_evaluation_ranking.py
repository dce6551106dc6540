"""Evaluation by ranking: what is asked, and what becomes of the scores."""

import numpy as np
import pytest
import seqio
from evaluation_examples import (
    LENGTHS,
    add,
    examples,
    prepare,
    read_lines,
    shown,
    tokens,
)

from hyperx.data import ranking

# condition, input, target, choices, answer
RANKED = [
    ("pick", "ab", "yes", ["yes", "no"], 0),
    ("pick", "cd", "maybe so, maybe not", ["yes", "no", "maybe so, maybe not"], 2),
]
# The answer's text stands where it is read; the target stays the same.
CHANNEL = [
    ("pick", "an ab", "ab", ["an ab", "ab no"], 0),
    ("pick", "cd a long one", "cd", ["no cd", "cd", "cd a long one"], 2),
]


def _ranked(rows):
    for (*_, choices, answer), row in zip(rows, examples(rows), strict=True):
        yield (
            row
            | {"references": [choices[answer]], "choices": choices}
            | {"answer": answer}
        )


def _channel(rows):
    for row in _ranked(rows):
        inputs = row.pop("choices")
        prompts = [f"{row['condition']}: {text}" for text in inputs]
        yield row | {"choice_inputs": inputs, "choice_prompts": prompts}


@pytest.fixture(scope="module", autouse=True)
def registered():
    ranked = {"postprocess_fn": ranking.postprocess, "metric_fns": [ranking.accuracy]}
    wrong = (row | {"answer": 2} for row in _ranked(RANKED[:1]))
    tasks = {
        "ranked_ranked": _ranked(RANKED),
        "ranked_channel": _channel(CHANNEL),
        "ranked_no_choices": examples([row[:4] for row in RANKED]),
        "ranked_wrong": wrong,
    }
    for name, rows in tasks.items():
        add(name, rows, **ranked)
    yield
    for name in tasks:
        seqio.TaskRegistry.remove(name)


class Ranker:
    """The longer output, and the longer input, is the likelier; keeps what it saw."""

    def rank(self, conditions, encoder_tokens, choices):
        self.seen = conditions, encoder_tokens, choices
        lengths = (choices != 0).sum(-1) + (encoder_tokens != 0).sum(-1)[:, None]
        return lengths - 50.0


@pytest.mark.parametrize("reads", ["condition", "prompt", "inputs"])
def test_choices_are_ranked_whole(reads, tmp_path):
    model = Ranker()
    one = prepare("ranked_ranked", reads)
    # Of "yes" and "no" the longer is right; so is the longest of the second row.
    assert one.run(model, step=0, log_dir=tmp_path) == {"accuracy": 100.0}
    conditions, encoder_tokens, choices = model.seen
    assert (conditions is None) == (reads != "condition")
    assert encoder_tokens.shape == (2, LENGTHS["prompt" if reads == "prompt" else
                                               "inputs"])  # fmt: skip
    longest = len(RANKED[1][2]) + 1
    assert choices.shape == (2, 3, longest)
    for row, (*_, options, _) in zip(choices, RANKED, strict=True):
        assert row[: len(options)].tolist() == [tokens(o, longest) for o in options]
        assert not row[len(options) :].any()
    lines = read_lines(tmp_path, "ranked_ranked-test-matched-0")
    length = int((encoder_tokens[0] != 0).sum())
    assert lines[0].pop("condition", "pick") == "pick"
    assert lines[0] == {
        "task": "task of pick",
        "id": "100",
        "category": "Strings",
        "input": "pick: ab" if reads == "prompt" else "ab",
        "references": ["yes"],
        "choices": ["yes", "no"],
        "answer": 0,
        "scores": [4 + length - 50, 3 + length - 50],
        "chosen": 0,
    }
    assert [line["chosen"] for line in lines] == [0, 2]
    assert "targets" not in one.report()["truncated"]


@pytest.mark.parametrize("reads", ["condition", "prompt"])
def test_of_a_channel_the_inputs_are_ranked_by_one_target(reads, tmp_path):
    model = Ranker()
    lengths = LENGTHS | {"inputs": 10}
    one = prepare("ranked_channel", reads, lengths)
    assert one.run(model, step=0, log_dir=tmp_path) == {"accuracy": 100.0}
    conditions, encoder_tokens, choices = model.seen
    texts = [text for *_, options, _ in CHANNEL for text in options]
    prefix = "pick: " if reads == "prompt" else ""
    length = lengths["prompt" if reads == "prompt" else "inputs"]
    texts = [(prefix + text)[: length - 1] for text in texts]
    width = encoder_tokens.shape[1]
    assert encoder_tokens.tolist() == [tokens(text, width) for text in texts]
    targets = [row[2] for row in CHANNEL for _ in row[3]]
    assert choices.tolist() == [[tokens(text, 8)] for text in targets]
    assert (conditions is None) == (reads == "prompt")
    if conditions is not None:
        assert shown(conditions) == ["pick"] * 5
    column = "choice_prompts" if reads == "prompt" else "choice_inputs"
    assert one.report()["truncated"][column] == 1
    lines = read_lines(tmp_path, "ranked_channel-test-matched-0")
    # The two inputs of the first row are equally long: the first one wins.
    assert [line["chosen"] for line in lines] == [0, 2]
    assert lines[1]["choices"] == CHANNEL[1][3]


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match=r"ranked_no_choices, row 0 \(100\): expe"):
        prepare("ranked_no_choices")
    with pytest.raises(ValueError, match=r"row 0 \(100\): expected an answer of 0 to"):
        prepare("ranked_wrong")

    class Broken:
        def rank(self, conditions, encoder_tokens, choices):
            scores = np.zeros(choices.shape[:2])
            scores[1, 2] = np.nan
            return scores[:, : self.width]

    model, one = Broken(), prepare("ranked_ranked")
    model.width = 3
    with pytest.raises(FloatingPointError, match="NaN in 1 of 2 rows, first in row 1"):
        one.run(model, step=0)
    model.width = 2
    with pytest.raises(ValueError, match=r"scores of shape \[2, 3\], got \[2, 2\]"):
        one.run(model, step=0)
