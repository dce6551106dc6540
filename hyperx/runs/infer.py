"""Inference over files: JSON lines in, JSON lines out."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from hyperx.inference.decoding import Requests, strategies
from hyperx.inference.predictor import Predictor
from hyperx.runs import models, progress
from hyperx.runs.adapt import check_folder
from hyperx.task_state import TaskState


def infer(
    *,
    model_dir: str | os.PathLike[str],
    input: str = "-",
    output: str = "-",
    condition: str | None = None,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    beams: int | None = None,
    length_penalty: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    returned: int = 1,
    seed: int = 0,
    vocabulary: str | None = None,
    step: int | None = None,
) -> int:
    """Generates an output for every input line.

    Every distinct condition is read once. Lines that cannot be read are reported with
    their number on standard error and left out; all others are answered.

    Args:
        model_dir: of a trained model.
        input: path of a JSONL file with ``condition`` and ``input`` on every line, or
            ``-`` for standard input. With `condition`, lines are plain inputs.
        output: path of the JSONL file to write, or ``-`` for standard output. Lines
            keep their order; each has ``line``, ``condition``, ``input`` and
            ``output``, or with several returned a list of ``outputs``.
        condition: one condition for all inputs.
        max_new_tokens: longest output.
        batch_size: lines that are decoded together.
        beams: of a beam search. Without this and what follows, decoding is greedy.
        length_penalty: of a beam search, see `hyperx.inference.decoding.Beam`.
        temperature: of sampling, see `hyperx.inference.decoding.Sample`.
        top_k: of sampling.
        top_p: of sampling.
        returned: outputs per line: the best of a beam search, or samples.
        seed: of sampling; the same line gets the same samples in any file.
        vocabulary: overrides the model's.
        step: of the checkpoint; the newest if None.

    Returns:
        How many lines could not be read.

    Raises:
        FileNotFoundError: without a model, an input or a folder for the output.
        ValueError: for a `condition` that the model would not read, or settings of
            decoding that contradict each other.
    """
    decoding = strategies.named(
        beams=beams,
        length_penalty=length_penalty,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    Requests.of(decoding, max_new_tokens, returned=returned)  # refuses contradictions
    options = dict(
        max_new_tokens=max_new_tokens, decoding=decoding, returned=returned, seed=seed
    )
    if output != "-":
        check_folder(output)
    predictor = models.load(model_dir, step, vocabulary=vocabulary)
    conditioned = predictor.conditioned
    if condition is not None and not conditioned:
        raise ValueError(
            "expected no condition for a model without hypernetwork, which reads "
            f"{predictor.config.method.reads!r} alone, got {condition[:60]!r}"
        )
    if condition is not None:
        predictor.check_condition(condition)
    with _opened(input, "r") as source:
        rows, bad = read_rows(source, condition, conditioned)
    rows, foreign = _readable(predictor, rows)
    bad = sorted([*bad, *foreign])
    for number, reason in bad:
        print(f"{input}, line {number}: {reason}", file=sys.stderr)
    results: list[dict[str, Any]] = [{}] * len(rows)
    with (
        _kept_on_failure(results, output),
        progress.Bar(len(rows), description="infer") as bar,
    ):
        done = 0
        for text, members in _by_condition(rows).items():
            state = predictor.adapt(text) if conditioned else None
            for start in range(0, len(members), batch_size):
                chosen = members[start : start + batch_size]
                answers = _answer(predictor, [rows[i] for i in chosen], state, options)
                for index, result in zip(chosen, answers, strict=True):
                    results[index] = result
                done += len(chosen)
                bar.update(done, rows=len(chosen))
    with _opened(output, "w") as target:
        _write(results, target)
    return len(bad)


def read_rows(
    lines: Iterable[str], condition: str | None, conditioned: bool
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Rows to answer, and what is wrong with the lines that are none.

    Args:
        lines: of the input file.
        condition: for all rows; lines are then plain text.
        conditioned: whether a row needs a condition.

    Returns:
        Rows with ``line``, ``input`` and ``condition``; and line numbers with reasons.
    """
    rows, bad = [], []
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        try:
            row = {"condition": condition, "input": _checked(text)}
            if condition is None:
                row = _row(text, conditioned)
            rows.append({"line": number} | row)
        except ValueError as error:
            bad.append((number, str(error)))
    return rows, bad


def _checked(text: str) -> str:
    """Refuses lone surrogates: JSON's own, and bytes that are no UTF-8 as read here."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected UTF-8, got {text[:60]!a}") from None
    return text


def _row(text: str, conditioned: bool) -> dict[str, str | None]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"expected a JSON object, got {text[:60]!r}: {error}"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    if not conditioned and value.get("condition") is not None:
        raise ValueError(
            "expected no condition for a model that reads inputs alone (put it into "
            f"the input where the model was trained so), got {value['condition']!r:.60}"
        )
    for key in ("input", "condition") if conditioned else ("input",):
        if not isinstance(value.get(key), str):
            raise ValueError(f"expected a string {key!r}, got {value.get(key)!r}")
        _checked(value[key])
    return {"condition": value.get("condition"), "input": value["input"]}


def _readable(
    predictor: Predictor, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Parts rows from those with words, or tasks, that the model does not know."""
    known, foreign = [], []
    for row in rows:
        try:
            predictor.check_text(row["input"])
            if row["condition"] is not None:
                predictor.check_condition(row["condition"])
            known.append(row)
        except ValueError as error:
            foreign.append((row["line"], str(error)))
    return known, foreign


def _by_condition(rows: list[dict[str, Any]]) -> dict[str | None, list[int]]:
    """Row numbers of each distinct condition."""
    members: dict[str | None, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(row["condition"], []).append(index)
    return members


def _answer(
    predictor: Predictor,
    rows: list[dict[str, Any]],
    state: TaskState | None,
    options: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Answers rows of one condition."""
    texts = predictor.generate([row["input"] for row in rows], state, **options)
    name = "outputs" if options["returned"] > 1 else "output"
    for row, text in zip(rows, texts, strict=True):
        yield row | {name: text}


def _write(results: Iterable[dict[str, Any]], target: TextIO) -> None:
    for result in results:
        target.write(json.dumps(result, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _kept_on_failure(results: Sequence[dict[str, Any]], output: str) -> Iterator[None]:
    """If its body is broken off, writes the answers that there are."""
    try:
        yield
    except BaseException:
        answered = [result for result in results if result]
        if output != "-" and answered:
            with open(f"{output}.partial", "w", encoding="utf-8") as file:
                _write(answered, file)
            print(
                f"broken off: {len(answered)} of {len(results)} answers are in "
                f"{output}.partial",
                file=sys.stderr,
            )
        raise


@contextlib.contextmanager
def _opened(path: str, mode: str) -> Iterator[TextIO]:
    """A file, replaced only once it is complete; or a standard stream for ``-``."""
    if path == "-" and mode == "r":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
        yield sys.stdin
        return
    if path == "-":
        yield sys.stdout
        return
    partial = f"{path}.partial" if mode == "w" else path
    with open(partial, mode, encoding="utf-8", errors="surrogateescape") as file:
        yield file
    if mode == "w":
        os.replace(partial, path)
