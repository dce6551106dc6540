"""SQuAD's exact match and F1 (Rajpurkar et al. 2016), a question's windows joined.

As MRQA 2019 computes them; which window answers a question is Hyperdecoders' choice.
Scores of single answers lie in [0, 1], the metric function gives percentages.
"""

import collections
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, white space collapsed."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match_score(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference once both are normalised, else 0."""
    said = normalize(prediction)
    return float(any(said == normalize(reference) for reference in references))


def f1_score(prediction: str, references: Sequence[str]) -> float:
    """F1 of the words in common, the best over the references."""
    said = normalize(prediction).split()
    return max(_f1(said, normalize(reference).split()) for reference in references)


def by_question(
    targets: Sequence[Mapping[str, Any]],
    predictions: Sequence[str],
    aux_values: Mapping[str, Sequence[float]],
) -> dict[str, float]:
    """Metric function: `exact_match` and `f1`, means over questions.

    The answer to a question is that of its windows which the model gave the greatest
    log-probability, among the windows with an answer at all.

    NOTE: Hyperdecoders compare the mean log-probability of a token instead, which
    depends there on the padding of the batch.

    Args:
      targets: records with `question` (its id) and `references`, one for each window.
      predictions: the generated texts.
      aux_values: `scores`, the log-probability of each.
    """
    answers: dict[str, tuple[float, str, Sequence[str]]] = {}
    rows = zip(targets, predictions, aux_values["scores"], strict=True)
    for target, said, score in rows:
        # Saying nothing is likely wherever there is nothing.
        score = float(score) if said.strip() else -np.inf
        known = answers.get(target["question"])
        if known is None or score > known[0]:
            answers[target["question"]] = score, said, target["references"]
    pairs = [(said, references) for _, said, references in answers.values()]
    return {
        "exact_match": 100 * float(np.mean([exact_match_score(*p) for p in pairs])),
        "f1": 100 * float(np.mean([f1_score(*p) for p in pairs])),
    }


def _f1(said: Sequence[str], expected: Sequence[str]) -> float:
    common = (collections.Counter(said) & collections.Counter(expected)).total()
    # 2PR / (P + R) with P = common / said and R = common / expected.
    return 2 * common / (len(said) + len(expected)) if common else 0.0
