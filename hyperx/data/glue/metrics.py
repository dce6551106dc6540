"""Scores of GLUE and SuperGLUE, as the benchmarks define them and T5 computes them.

Metric functions of generated answers, in percent; `ranked` makes metric functions of
scores of them. Targets are records with

    references  right answers; of a label its word or number
    labels      all labels, by number
    label       the number of the right one
    group       of rows that are scored together (MultiRC) or count once (ReCoRD)

An answer that is no label is wrong, as text-to-text-transfer-transformer counts it: it
is a class of its own (-1) for accuracy, Matthews' and macro-F1, the other of the two
labels for F1; one that is no number is -1 for STS-B.

NOTE: correlations of STS-B are with the scores as rounded to 0.2, as in T5.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
import sklearn.metrics

from hyperx.data import ranking
from hyperx.data.mrqa import metrics as mrqa_metrics

Target = Mapping[str, Any]
Targets = Sequence[Target]
Predictions = Sequence[str]
Metric = Callable[[Targets, Predictions], dict[str, float]]
RankedMetric = Callable[[Targets, np.ndarray], dict[str, float]]

_NO_LABEL = -1
_DETERMINERS = frozenset(
    (
        *("a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our"),
        *("some", "that", "the", "their", "these", "this", "those", "which", "whose"),
        "your",
    )
)


def accuracy(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`accuracy`: predictions that are the right label."""
    return {"accuracy": _mean(_numbers(targets) == _said(targets, predictions))}


def matthews(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`matthews`: Matthews' correlation coefficient (CoLA)."""
    score = sklearn.metrics.matthews_corrcoef(
        _numbers(targets), _said(targets, predictions)
    )
    return {"matthews": 100 * float(score)}


def f1_accuracy(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`f1` of label 1, `accuracy`, and their `mean` (MRPC, QQP)."""
    return _with_mean(_f1(targets, predictions) | accuracy(targets, predictions))


def macro_f1_accuracy(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`macro_f1` over all labels, `accuracy`, and their `mean` (CB)."""
    score = sklearn.metrics.f1_score(
        _numbers(targets),
        _said(targets, predictions),
        labels=range(len(targets[0]["labels"])),
        average="macro",
        zero_division=0,
    )
    return _with_mean({"macro_f1": 100 * float(score)} | accuracy(targets, predictions))


def correlations(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`pearson`, `spearman` and their `mean` (STS-B); nan if all answers are one."""
    right = [float(target["references"][0]) for target in targets]
    said = [_number(prediction) for prediction in predictions]
    if len(set(right)) < 2 or len(set(said)) < 2:  # Neither is defined.
        return dict.fromkeys(("pearson", "spearman", "mean"), math.nan)
    return _with_mean(
        {
            "pearson": 100 * float(scipy.stats.pearsonr(right, said)[0]),
            "spearman": 100 * float(scipy.stats.spearmanr(right, said)[0]),
        }
    )


def multirc(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`f1` over all answers, `exact_match` of questions with all their answers right.

    Also the `mean` of both. Of a draw of rows (EVAL_EXAMPLES in gin) questions are not
    whole, and the exact match is too high.
    """
    right = _numbers(targets) == _said(targets, predictions)
    questions = collections.defaultdict(list)
    for target, is_right in zip(targets, right, strict=True):
        questions[target["group"]].append(is_right)
    exact = _mean([all(answers) for answers in questions.values()])
    return _with_mean(_f1(targets, predictions) | {"exact_match": exact})


def record(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """SQuAD's `f1` and `exact_match`, the best over the answers, and their `mean`.

    Of several rows of a query, the first counts (ReCoRD).
    """
    pairs: dict[str, tuple[str, Sequence[str]]] = {}
    for target, said in zip(targets, predictions, strict=True):
        pairs.setdefault(target["group"], (said, target["references"]))
    return _with_mean(
        {
            "f1": _mean([mrqa_metrics.f1_score(*pair) for pair in pairs.values()]),
            "exact_match": _mean(
                [mrqa_metrics.exact_match_score(*pair) for pair in pairs.values()]
            ),
        }
    )


def referents(targets: Targets, predictions: Predictions) -> dict[str, float]:
    """`accuracy` of whether the candidate is what was named (WSC, see `same_referent`).

    A row with label 1 is right if the candidate, its reference, was named; one with
    label 0 if anything else was; nothing said is wrong.
    """
    pairs = zip(targets, predictions, strict=True)
    right = [
        same_referent(said, target["references"][0]) == bool(target["label"])
        for target, said in pairs
    ]
    return {"accuracy": _mean(right)}


def same_referent(said: str, candidate: str) -> bool | None:
    """Whether two texts name the same, as T5 compares them; None if nothing is said.

    Case and determiners do not count, and the words of one may be part of the other's;
    but both or neither must have an apostrophe.
    """
    said, candidate = _bare(said), _bare(candidate)
    if not said:
        return None
    if ("'" in said) != ("'" in candidate):
        return False
    words, others = set(said.split(" ")), set(candidate.split(" "))
    return words <= others or others <= words


def ranked(metric: Metric) -> RankedMetric:
    """The metric of the choices with the greatest scores.

    Targets have `choices` too; scores are [N, C] log-probabilities, -inf where a row
    has fewer choices.
    """

    # Without functools.wraps: seqio goes by the names of the arguments.
    def of_scores(targets: Targets, scores: np.ndarray) -> dict[str, float]:
        best = zip(targets, ranking.chosen(scores), strict=True)
        return metric(targets, [target["choices"][number] for target, number in best])

    of_scores.__name__ = metric.__name__
    return of_scores


def _f1(targets: Targets, predictions: Predictions) -> dict[str, float]:
    right, said = _numbers(targets), _said(targets, predictions)
    said = np.where(said == _NO_LABEL, 1 - right, said)
    return {"f1": 100 * float(sklearn.metrics.f1_score(right, said, zero_division=0))}


def _with_mean(values: dict[str, float]) -> dict[str, float]:
    return values | {"mean": float(np.mean(list(values.values())))}


def _numbers(targets: Targets) -> np.ndarray:
    return np.array([target["label"] for target in targets])


def _said(targets: Targets, predictions: Predictions) -> np.ndarray:
    numbers = []
    for target, text in zip(targets, predictions, strict=True):
        labels = target["labels"]
        numbers.append(labels.index(text) if text in labels else _NO_LABEL)
    return np.array(numbers)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return -1.0
    return value if math.isfinite(value) else -1.0


def _bare(text: str) -> str:
    words = text.strip().lower().split(" ")
    return " ".join(word for word in words if word not in _DETERMINERS)


def _mean(values: Sequence[bool] | Sequence[float] | np.ndarray) -> float:
    return 100 * float(np.mean(values))
