"""Scores of generated text against references: exact match and ROUGE-L.

As the Super-NaturalInstructions evaluation computes them. The scores of single examples
lie in [0, 1]; the metric functions, which `seqio.Task` takes, give means times 100.
"""

import collections
import functools
import string
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nltk.stem import porter
from rouge_score import tokenize

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

# Stemming takes most of the time of ROUGE, and words recur.
_STEMMER = types.SimpleNamespace(
    stem=functools.lru_cache(maxsize=1 << 16)(porter.PorterStemmer().stem)
)

# What a prediction is compared with: one answer, several, or a record of them with
# optional `task` and `category`.
Target = str | Sequence[str] | Mapping[str, Any]

_COLUMNS = ("task", "id", "category", "question")


def postprocess(
    text: str, *, example: Mapping[str, Any], is_target: bool
) -> str | dict[str, Any]:
    """For `seqio.Task`: what metrics of generated text compare with.

    Args:
      text: a target, or what was generated.
      example: the row it belongs to.
      is_target: which of the two it is.

    Returns:
      Generated text as it is; for a target the row's `references` and, if it has them,
      `task`, `id`, `category` and `question`.
    """
    if not is_target:
        return text
    references = [reference.decode() for reference in example["references"]]
    kept = {name: example[name].decode() for name in _COLUMNS if name in example}
    return {"references": references} | kept


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, white space collapsed; articles stay."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


def exact_match_score(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference once both are normalised, else 0."""
    normal = normalize(prediction)
    return float(any(normal == normalize(reference) for reference in references))


def rouge_l_score(prediction: str, references: Sequence[str]) -> float:
    """ROUGE-L F with Porter stemming, the best over the references.

    Equals `rouge_score`'s, whose tokens are runs of [a-z0-9]: text in another script
    has none and scores 0.
    """
    predicted = _tokens(prediction)
    return max(_f_measure(predicted, _tokens(reference)) for reference in references)


def rouge_l_batch(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
    """`rouge_l_score` of every prediction, [N] float64."""
    pairs = zip(predictions, references, strict=True)
    return np.array([rouge_l_score(*pair) for pair in pairs], np.float64)


def exact_match(
    targets: Sequence[Target], predictions: Sequence[str]
) -> dict[str, float]:
    """Metric function: the percentage of exact matches, as `exact_match`."""
    return {"exact_match": 100 * float(np.mean(_exact_matches(targets, predictions)))}


def generation(
    targets: Sequence[Mapping[str, Any]], predictions: Sequence[str]
) -> dict[str, float]:
    """Metric function: ROUGE-L and exact match, overall and by category and task.

    Args:
      targets: records with `references`, `task` and `category`.
      predictions: the generated texts.

    Returns:
      `rougeL` and `exact_match`, each also as `rougeL/category/<category>` and
      `rougeL/task/<task>`; means over examples, times 100.
    """
    references = [references_of(target) for target in targets]
    scores = {
        "rougeL": rouge_l_batch(predictions, references),
        "exact_match": _exact_matches(targets, predictions),
    }
    rows = {
        f"/{label}/{name}": indices
        for label in ("category", "task")
        for name, indices in _indices([target[label] for target in targets]).items()
    }
    return {
        metric + suffix: 100 * float(values[indices].mean())
        for suffix, indices in {"": slice(None), **rows}.items()
        for metric, values in scores.items()
    }


def references_of(target: Target) -> list[str]:
    """The acceptable answers of a target, at least one."""
    if isinstance(target, str):
        return [target]
    references = list(target["references"] if isinstance(target, Mapping) else target)
    if not references:
        raise ValueError("expected at least one reference, got none")
    return references


def _exact_matches(targets: Sequence[Target], predictions: Sequence[str]) -> np.ndarray:
    pairs = zip(predictions, targets, strict=True)
    return np.array(
        [exact_match_score(text, references_of(target)) for text, target in pairs],
        np.float64,
    )


def _indices(names: Sequence[str]) -> dict[str, list[int]]:
    rows = collections.defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    return rows


@functools.lru_cache(maxsize=1 << 14)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(tokenize.tokenize(text, _STEMMER))


def _f_measure(predicted: Sequence[str], expected: Sequence[str]) -> float:
    common = _longest_common_subsequence(predicted, expected)
    # 2PR / (P + R) with P = common / predicted and R = common / expected.
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def _longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Its length. Bit-parallel: one integer holds a row of the classic table.

    Bit i is 0 where the row of the table grows from column i to i + 1, so the zeros
    count the length (Hyyro, 2004). One big-integer step per token of b.
    """
    positions = collections.defaultdict(int)
    for i, token in enumerate(a):
        positions[token] |= 1 << i
    everything = (1 << len(a)) - 1
    row = everything
    for token in b:
        matches = row & positions[token]
        row = ((row + matches) | (row - matches)) & everything
    return len(a) - row.bit_count()
