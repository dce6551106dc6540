"""MetaICL's scores: macro-F1 or accuracy of ranked options, and means over seeds.

Both come twice, by which option wins: the one of the greatest log-probability, or, as
in MetaICL, the one of the greatest *mean* log-probability of a token (`_per_token`).
They are the same where the options are read and not predicted (channel).
"""

import collections
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hyperx.data import averages, ranking

Target = Mapping[str, Any]
Score = Callable[[Sequence[str], Sequence[str]], float]


def macro_f1_score(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The mean F1, in [0, 1], of the labels that occur among the answers.

    A label that is only ever predicted lowers the precision of none and is not in the
    mean, which scikit-learn's is over all labels of either side. The precision of a
    label that is never predicted is 1 in MetaICL; its recall, and so its F1, is 0.
    """
    predicted, expected = collections.Counter(predictions), collections.Counter(answers)
    pairs = zip(predictions, answers, strict=True)
    right = collections.Counter(answer for said, answer in pairs if said == answer)
    # 2PR / (P + R) with P = right / predicted and R = right / expected.
    scores = [
        2 * right[label] / (predicted[label] + expected[label]) for label in expected
    ]
    return float(np.mean(scores))


def macro_f1(targets: Sequence[Target], scores: np.ndarray) -> dict[str, float]:
    """Metric function: `macro_f1` and `macro_f1_per_token`, in percent.

    Args:
      targets: records with `choices`, `answer` (the number of the right one) and
        `lengths` (the tokens that are scored for each).
      scores: [N, C] log-probabilities, -inf where a row has fewer options.
    """
    return _both(targets, scores, "macro_f1", macro_f1_score)


def accuracy(targets: Sequence[Target], scores: np.ndarray) -> dict[str, float]:
    """Metric function: `accuracy` and `accuracy_per_token`, in percent.

    Args:
      targets: as in `macro_f1`.
      scores: as in `macro_f1`.
    """
    return _both(targets, scores, "accuracy", _accuracy_score)


def over_seeds(
    values: Mapping[str, float], unseen_domain: Collection[str] = ()
) -> dict[str, float]:
    """The mean over tasks of their mean and of their worst value over the seeds.

    Args:
      values: by name of the seqio task, `<task>_<seed>`.
      unseen_domain: those names that are of an unseen domain.

    Returns:
      `mean` and `worst`; of the tasks of an unseen domain, if there are any,
      `unseen_domain_mean` and `unseen_domain_worst`; and `<task>/mean` and
      `<task>/worst` of every task.
    """
    unseen = {name: values[name] for name in values if name in set(unseen_domain)}
    figures: dict[str, float] = {}
    for name, of in (("mean", np.mean), ("worst", np.min)):
        tasks = averages.over_groups(values, _without_seed, of)
        figures[name] = tasks.pop("mean")
        figures |= {f"{task}/{name}": value for task, value in tasks.items()}
        if unseen:
            tasks = averages.over_groups(unseen, _without_seed, of)
            figures[f"unseen_domain_{name}"] = tasks["mean"]
    return figures


def _without_seed(name: str) -> str:
    return name.rpartition("_")[0]


def _accuracy_score(predictions: Sequence[str], answers: Sequence[str]) -> float:
    pairs = zip(predictions, answers, strict=True)
    return float(np.mean([said == answer for said, answer in pairs]))


def _both(
    targets: Sequence[Target], scores: np.ndarray, name: str, score: Score
) -> dict[str, float]:
    scores = np.asarray(scores)
    lengths = np.ones(scores.shape)
    for row, target in zip(lengths, targets, strict=True):
        row[: len(target["lengths"])] = target["lengths"]
    # Options are compared as MetaICL does it: by their text, stripped.
    answers = [t["choices"][t["answer"]].strip() for t in targets]
    values = {}
    for metric, compared in ((name, scores), (f"{name}_per_token", scores / lengths)):
        best = zip(targets, ranking.chosen(compared), strict=True)
        said = [target["choices"][number].strip() for target, number in best]
        values[metric] = 100 * score(said, answers)
    return values
