"""The examples of one task: from JSON lines to batches."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyperx.inference.predictor import Predictor

KEYS = ("input", "output")

Examples = Mapping[str, np.ndarray]


def read(path: str | os.PathLike[str], predictor: Predictor) -> list[dict[str, str]]:
    """Reads a JSONL file with ``input`` and ``output`` on every line.

    What `hyperx infer` writes is such a file; other keys are left alone.

    Args:
        path: of the file.
        predictor: of the model, whose vocabulary must know all words.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no examples, or lines that are none.
    """
    rows, bad = [], []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    rows.append(_row(line, predictor))
            except ValueError as error:
                bad.append((number, error))
    if bad:
        (number, error), *others = bad
        more = ", ".join(str(other) for other, _ in others[:10])
        more += ", ..." if others[10:] else ""
        also = f" (and {len(others)} more: {more})" if others else ""
        raise ValueError(f"{path}, line {number}: {error}{also}")
    if not rows:
        raise ValueError(
            f'expected JSON lines with "input" and "output" in {path}, got none'
        )
    return rows


def _row(line: str, predictor: Predictor) -> dict[str, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        problem = f"expected a JSON object, got {line[:60].rstrip()!a}: {error}"
        raise ValueError(problem) from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    for key in KEYS:
        text = value.get(key)
        if not isinstance(text, str):
            raise ValueError(f"expected a string {key!r}, got {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"expected UTF-8, got {text[:60]!a}") from None
        predictor.check_text(text)
    return {key: value[key] for key in KEYS}


def tokenize(predictor: Predictor, rows: Sequence[Mapping[str, str]]) -> Examples:
    """Tokens of examples, cut as the model's features and padded to powers of two.

    Args:
        predictor: of the model.
        rows: N examples with ``input`` and ``output``.

    Returns:
        ``encoder_tokens [N, S]``, ``decoder_input_tokens``, ``decoder_target_tokens``
        and ``decoder_loss_weights``, all ``[N, T]``.
    """
    feature = "prompt" if predictor.config.method.reads == "prompt" else "inputs"
    sources = predictor.encode_text([row["input"] for row in rows], feature)
    targets = _fit(predictor.encode_text([row["output"] for row in rows], "targets"))
    return {
        "encoder_tokens": _fit(sources),
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets != 0).astype(np.float32),
    }


def _fit(tokens: np.ndarray) -> np.ndarray:
    """Pads to a power of two, so that tasks of about one length compile once."""
    length = max(1 << (tokens.shape[1] - 1).bit_length(), 8)
    return np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])))


def shuffled(
    examples: Examples, size: int, batches: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches ``[1, R, ...]``; every pass over the examples has an order of its own."""
    generator = np.random.default_rng(seed)
    count = len(examples["encoder_tokens"])
    passes = (generator.permutation(count) for _ in itertools.count())
    order = itertools.chain.from_iterable(passes)
    for _ in range(batches):
        chosen = np.array(list(itertools.islice(order, size)))
        yield {name: array[chosen][None] for name, array in examples.items()}


def padded(examples: Examples, size: int) -> Iterator[dict[str, np.ndarray]]:
    """All examples once in batches ``[1, R, ...]``, the last filled up by weight 0."""
    count = len(examples["encoder_tokens"])
    for start in range(0, count, size):
        places = np.arange(start, start + size)
        batch = {name: array[places % count] for name, array in examples.items()}
        batch["decoder_loss_weights"][places >= count] = 0.0
        yield {name: array[None] for name, array in batch.items()}
