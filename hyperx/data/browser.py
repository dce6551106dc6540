"""Looking into tasks and mixtures: their rows as people read them, their lengths."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tqdm

from hyperx.data import cache, ranking, reading

PERCENTILES = (50, 90, 99)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """A feature of a row.

    Attributes:
      kept: what a model reads of it.
      cut: what is beyond the configured length.
      tokens: of both.
      limit: the configured length; None without one.
    """

    kept: str
    cut: str
    tokens: int
    limit: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A row: the name of its seqio task, its features, and its other columns."""

    task: str
    texts: Mapping[str, Text]
    columns: Mapping[str, Any]  # text, list of texts, or number


def rows(
    name: str,
    split: str,
    count: int,
    *,
    feature_lengths: Mapping[str, int] | None = None,
    use_cached: bool = False,
) -> Iterator[Row]:
    """Yields the first rows of a task; of a mixture, as many of each of its tasks.

    Args:
      name: registered with seqio.
      split: of it.
      count: rows in all.
      feature_lengths: where features are cut, as configured.
      use_cached: read seqio's cache.

    Raises:
      ValueError: there is no such task or split, or the data are at fault.
    """
    lengths = feature_lengths or {}
    tasks = _tasks(name, split, use_cached)[:count]
    each, more = divmod(count, len(tasks))
    for number, task in enumerate(tasks):
        dataset = reading.dataset_of(task, split, use_cached=use_cached)
        wanted = dataset.take(each + (number < more)).as_numpy_iterator()
        for row in reading.iterate(wanted, f"{task.name}, split {split!r}"):
            yield _row(task, row, lengths)


def _row(task: seqio.Task, row: Mapping[str, Any], lengths: Mapping[str, int]) -> Row:
    features = [name for name in task.output_features if name in row]
    hidden = {*features, *(f"{name}_pretokenized" for name in features)}
    return Row(
        task=task.name,
        texts={name: _text(task, row, name, lengths.get(name)) for name in features},
        columns={k: _readable(v) for k, v in row.items() if k not in hidden},
    )


def _text(
    task: seqio.Task, row: Mapping[str, Any], name: str, limit: int | None
) -> Text:
    tokens, kept, cut = row[name].tolist(), row.get(f"{name}_pretokenized"), ""
    vocabulary = task.output_features[name].vocabulary
    if limit is not None and len(tokens) > limit:
        kept = vocabulary.decode(tokens[: limit - 1])  # the last one is EOS
        cut = vocabulary.decode(tokens[limit - 1 :])
    elif kept is None:
        kept = vocabulary.decode(tokens)
    return Text(kept=ranking.as_text(kept), cut=cut, tokens=len(tokens), limit=limit)


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [_readable(part) for part in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of one feature of all rows, uncut, and where it is cut."""

    tokens: np.ndarray  # [rows]
    limit: int | None

    def report(self) -> dict[str, Any]:
        """Numbers for people; those that need a limit only where there is one."""
        report: dict[str, Any] = {
            "mean": float(self.tokens.mean()),
            "percentiles": {p: self.percentile(p) for p in PERCENTILES},
            "longest": int(self.tokens.max()),
        }
        if self.limit is not None:
            report["limit"] = self.limit
            report["cut"] = int((self.tokens > self.limit).sum())
            kept = np.minimum(self.tokens, self.limit)
            report["padding"] = float(1 - kept.mean() / self.limit)
        return report

    def percentile(self, percent: int) -> int:
        """The length that so many percent of the rows do not exceed."""
        return int(np.percentile(self.tokens, percent, method="inverted_cdf"))


def lengths_of(shown: Sequence[Row]) -> dict[str, Lengths]:
    """By feature, of some rows."""
    texts = {name: [row.texts[name] for row in shown] for name in shown[0].texts}
    return {
        name: Lengths(tokens=np.array([t.tokens for t in of]), limit=of[0].limit)
        for name, of in texts.items()
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What a task or mixture holds; `rows` and `rates` are [tasks]."""

    tasks: tuple[str, ...]
    rows: np.ndarray
    rates: np.ndarray
    features: Mapping[str, Lengths]

    def report(self) -> dict[str, Any]:
        """All of it as plain data."""
        numbers = zip(self.tasks, self.rows, self.rates, strict=True)
        return {
            "rows": int(self.rows.sum()),
            "features": {name: f.report() for name, f in self.features.items()},
            "tasks": {
                task: {"rows": int(rows), "mixing_rate": float(rate)}
                for task, rows, rate in numbers
            },
        }


def measure(
    name: str,
    split: str,
    *,
    feature_lengths: Mapping[str, int] | None = None,
    use_cached: bool = False,
) -> Measured:
    """Reads a split of a task or mixture once.

    Args:
      name: registered with seqio.
      split: of it.
      feature_lengths: where features are cut, as configured.
      use_cached: read seqio's cache.

    Raises:
      ValueError: there is no such task or split, or no rows, a mixing rate is none, or
        the data are at fault.
    """
    tasks = _tasks(name, split, use_cached)
    rates = reading.mixing_rates(name, tasks)
    features = tuple(tasks[0].output_features)
    pieces: dict[str, list[np.ndarray]] = {feature: [] for feature in features}
    counts = np.zeros(len(tasks), np.int64)
    with tqdm.tqdm(desc=f"{name} {split}", unit=" rows", disable=None) as bar:
        for number, task in enumerate(tasks):
            for told, batch in reading.read(
                task, split, features, use_cached=use_cached
            ):
                for feature, read in batch.items():
                    pieces[feature].append(read.lengths.astype(np.int32))
                counts[number] += len(told)
                bar.update(len(told))
    if not counts.sum():
        raise ValueError(f"expected rows in {name}, split {split!r}, got none")
    limits = feature_lengths or {}
    return Measured(
        tasks=tuple(task.name for task in tasks),
        rows=counts,
        rates=rates,
        features={
            feature: Lengths(tokens=np.concatenate(p), limit=limits.get(feature))
            for feature, p in pieces.items()
        },
    )


def _tasks(name: str, split: str, use_cached: bool) -> Sequence[seqio.Task]:
    tasks = reading.subtasks(name, split)
    if use_cached:
        for task in tasks:
            cache.check(task, split)
    return tasks
