"""Training batches of G conditions x R rows: a pure function of (seed, step).

`hyperx.data.chunks` says which rows; here they become arrays. So the position in the
data is just the step.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures

import numpy as np

from hyperx.data import chunks
from hyperx.data import examples as examples_lib

DECODER_START_ID = 0

# What the encoder reads, and which features a method needs, by what it `reads`.
ENCODER_FEATURE = {
    "condition": "inputs",
    "task": "inputs",
    "prompt": "prompt",
    "inputs": "inputs",
}
FEATURES_READ = {
    "condition": ("condition", "inputs", "targets"),
    "task": ("condition", "inputs", "targets"),
    "prompt": ("prompt", "targets"),
    "inputs": ("inputs", "targets"),
}

# These group their rows by condition, which comes apart from the input.
CONDITIONED = ("condition", "task")

# Features that there is one of for all rows of a group.
SHARED = ("other_condition",)

Batch = dict[str, np.ndarray]


class GroupedBatches:
    """`batches[step]` is the batch of that step, or this process's share of it.

    Keys: `encoder_tokens` [G, R, S], `decoder_input_tokens`, `decoder_target_tokens`
    [G, R, T] int32, `decoder_loss_weights` [G, R, T] float32, and, if the method reads
    conditions, `condition_tokens` [G, I] int32; [G, 1], the number of the task, if it
    reads tasks. G counts the groups of `share`. An extra feature is
    `<name>_tokens`: `prompt_tokens` [G, R, S], `other_condition_tokens` [G, I].

    Args:
      examples: the rows, with the features that `reads` needs.
      groups: conditions in the global batch.
      rows: rows per condition.
      feature_lengths: length to pad each feature to; others than needed are ignored.
      reads: "condition", "task", "prompt" or "inputs"; only the first two group by
        condition, otherwise all rows of a task are one pool.
      seed: orders the data.
      extra: features to add besides those that `reads` needs.
      share: numbers of the groups to return, those that the devices of this process
        hold; all if None.

    Attributes:
      groups: conditions in the global batch.
    """

    def __init__(
        self,
        examples: examples_lib.Examples,
        *,
        groups: int,
        rows: int,
        feature_lengths: Mapping[str, int],
        reads: str,
        seed: int,
        extra: Sequence[str] = (),
        share: Sequence[int] | None = None,
    ):
        _check(examples, groups, rows, feature_lengths, reads, extra)
        share = range(groups) if share is None else share
        if not set(share) <= set(range(groups)):
            raise ValueError(
                f"expected numbers of the {groups} groups of a batch, got {share=}"
            )
        self._examples = examples
        self._lengths = dict(feature_lengths)
        if reads == "task":
            self._lengths["condition"] = 1
        self._reads = reads
        self._extra = tuple(extra)
        self.groups = groups
        self._share = tuple(share)
        self._chunks = chunks.Chunks(
            examples, rows, seed, by_condition=reads in CONDITIONED
        )

    @property
    def chunks_per_epoch(self) -> int:
        return self._chunks.per_epoch

    @property
    def steps_per_epoch(self) -> float:
        """Steps that make one (virtual) epoch; epochs end within a batch."""
        return self._chunks.per_epoch / self.groups

    def __getitem__(self, step: int) -> Batch:
        if step < 0:
            raise IndexError(f"expected a step of at least 0, got {step}")
        first = step * self.groups
        rows = np.stack([self._chunks[first + group] for group in self._share])
        batch = {
            "encoder_tokens": self._pad(ENCODER_FEATURE[self._reads], rows),
            **self._decoder_arrays(rows),
        }
        if self._reads in CONDITIONED:
            conditions = self._examples.condition_of_row[rows[:, 0]]
            batch["condition_tokens"] = self._pad("condition", conditions)
        for name in self._extra:
            which = rows[:, 0] if name in SHARED else rows
            batch[f"{name}_tokens"] = self._pad(name, which)
        return batch

    def _pad(self, feature: str, indices: np.ndarray) -> np.ndarray:
        length = self._lengths[feature]
        return self._examples.features[feature].pad(indices, length)

    def _decoder_arrays(self, rows: np.ndarray) -> Batch:
        targets = self._pad("targets", rows)
        inputs = np.roll(targets, 1, axis=-1)
        inputs[..., 0] = DECODER_START_ID
        lengths = self._examples.features["targets"].lengths_of(rows)
        real = np.arange(targets.shape[-1]) < lengths[..., None]
        return {
            "decoder_input_tokens": inputs,
            "decoder_target_tokens": targets,
            "decoder_loss_weights": real.astype(np.float32),
        }


def prefetch(
    batches: GroupedBatches, start: int, stop: int, *, depth: int = 2
) -> Iterator[Batch]:
    """Yields batches `start` to `stop - 1`, made ahead of time in one thread.

    Args:
      batches: where they come from.
      start: the first step.
      stop: one past the last step.
      depth: how many batches may wait.

    Raises:
      Whatever making a batch raises, in place of that batch.
    """
    with futures.ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        making = (thread.submit(batches.__getitem__, i) for i in range(start, stop))
        waiting = deque(itertools.islice(making, depth))
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(itertools.islice(making, 1))
            yield batch


def _check(
    examples: examples_lib.Examples,
    groups: int,
    rows: int,
    feature_lengths: Mapping[str, int],
    reads: str,
    extra: Sequence[str],
) -> None:
    if reads not in FEATURES_READ:
        raise ValueError(f"expected reads among {[*FEATURES_READ]}, got {reads!r}")
    if groups < 1 or rows < 1:
        raise ValueError(
            f"expected groups and rows of at least 1, got {groups=}, {rows=}"
        )
    if not len(examples):
        raise ValueError("expected examples with at least one row, got none")
    for name in dict.fromkeys((*FEATURES_READ[reads], *extra)):
        if name not in examples.features or name not in feature_lengths:
            raise ValueError(
                f"expected feature {name!r} in the examples and the lengths, since "
                f"{reads=} and {extra=}, got {[*examples.features]} and "
                f"{[*feature_lengths]}"
            )
        longest = examples.features[name].max_length
        if (reads, name) == ("task", "condition"):
            continue  # a number
        if longest > feature_lengths[name]:
            raise ValueError(
                f"expected {name} of at most {feature_lengths[name]} tokens, "
                f"got examples loaded with up to {longest}"
            )
