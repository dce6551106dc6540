"""The tuner: ordinary fine-tuning of the parts of one task state.

A generated adaptation is what parameter-efficient fine-tuning trains: here its arrays
are trained on, and everything else is an argument that stays as it is, the backbone,
the hypernetwork and the fused condition (HyperTuning, Phang et al. 2023).
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from hyperx import sharding
from hyperx.hypernetworks.conditioning import Conditioning
from hyperx.inference.predictor import Predictor
from hyperx.model import Batch
from hyperx.ops import losses
from hyperx.optim import schedules
from hyperx.optim.optimizers import AdamW
from hyperx.runs import progress
from hyperx.runs.tuning import data as data_lib
from hyperx.runs.tuning.data import Examples
from hyperx.task_state import TaskState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """How well a state does on held-out examples.

    Attributes:
        step: updates made before.
        loss: mean over tokens, in nats.
        exact_match: examples, in percent, whose whole output is the most probable one
            token by token: what greedy decoding writes.
    """

    step: int
    loss: float
    exact_match: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of a start.

    Attributes:
        state: the one with the lowest loss of all that were measured.
        curve: measurements from step 0 on, all of them finite.
        diverged: the step with the first loss that is no number, which ends tuning.
    """

    state: TaskState
    curve: tuple[Measured, ...]
    diverged: int | None = None

    @property
    def best(self) -> Measured:
        """The measurement of `state`."""
        return min(self.curve, key=lambda measured: measured.loss)

    def reaches(self, loss: float) -> int | None:
        """The first measured step with at most that loss; None if there is none."""
        steps = (measured.step for measured in self.curve if measured.loss <= loss)
        return next(steps, None)


class Tuner:
    """Tunes states of one model: AdamW, a cosine schedule, gradients clipped at 1.

    All runs with states of one structure, and with examples of one length, share what
    is compiled.

    Attributes:
        predictor: the model.
        steps: updates.
        batch_size: examples per update (R), and per measurement at once.
        eval_period: updates between measurements; the last is always measured.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        steps: int,
        batch_size: int = 16,
        eval_period: int = 10,
    ) -> None:
        if steps < 0 or batch_size < 1 or eval_period < 1:
            raise ValueError(
                "expected steps of at least 0, batch_size and eval_period of at least "
                f"1, got {steps}, {batch_size} and {eval_period}"
            )
        self.predictor = predictor
        self.steps, self.batch_size, self.eval_period = steps, batch_size, eval_period
        self._module = predictor.config.build()
        # The peak is an argument of the update, so that trying several compiles once.
        schedule = schedules.cosine(peak=1.0, total_steps=max(steps, 1))
        self._adam = AdamW(learning_rate=schedule, clip_norm=1.0).build()
        # Everything that moves lies in one place, or steps would compile anew.
        self._where = NamedSharding(predictor.mesh, sharding.spec(()))
        self._init = jax.jit(self._adam.init, out_shardings=self._where)
        self._update = jax.jit(self._update_fn, out_shardings=self._where)
        self._sums = jax.jit(self._sums_fn)

    def run(
        self,
        state: TaskState,
        train: Examples,
        held_out: Examples,
        *,
        learning_rate: float = 1e-3,
        seed: int = 0,
        name: str = "tune",
    ) -> Tuned:
        """Tunes one state.

        Args:
            state: of one condition, made for this model.
            train: see `hyperx.runs.tuning.data.tokenize`.
            held_out: what measurements are made on, as `train`.
            learning_rate: the highest of the schedule.
            seed: of the order of the examples.
            name: shown by the progress bar.

        Raises:
            FloatingPointError: if the loss of the start is no number.
            ValueError: for a state of another model, of several conditions, or without
                parts.
        """
        self.check(state)
        batches = data_lib.shuffled(train, self.batch_size, self.steps, seed)
        measuring = list(data_lib.padded(held_out, self.batch_size))
        with (
            sharding.use(self.predictor.mesh),
            progress.Bar(self.steps, description=name) as bar,
        ):
            state = jax.device_put(state, self._where)
            return self._run(state, batches, measuring, learning_rate, bar)

    def _run(
        self,
        state: TaskState,
        batches: Iterable[Batch],
        measuring: Sequence[Batch],
        learning_rate: float,
        bar: progress.Bar,
    ) -> Tuned:
        parts = optax.tree.cast(state.replace(memory=None), jnp.float32)
        opt_state = self._init(parts)
        best, curve = state, [self._measured(0, state, measuring)]
        first = curve[0].loss
        if not math.isfinite(first):
            raise FloatingPointError(f"expected a finite loss at step 0, got {first}")
        waiting = []  # losses since the last measurement, perhaps still being computed
        for step, batch in enumerate(batches, start=1):
            parts, opt_state, loss = self._update(
                self.predictor.params, state, parts, opt_state, batch, learning_rate
            )
            waiting.append(loss)
            bar.update(step, rows=self.batch_size, loss=loss)
            if step % self.eval_period and step < self.steps:
                continue
            now = _with_parts(state, parts)
            measured = self._measured(step, now, measuring)
            finite = np.isfinite([*jax.device_get(waiting), measured.loss])
            if not finite.all():
                # A loss is that of the step before its update.
                first = step - len(waiting) + int(np.argmin(finite))
                return Tuned(state=best, curve=tuple(curve), diverged=first)
            waiting.clear()
            if measured.loss < min(earlier.loss for earlier in curve):
                best = now
            curve.append(measured)
        return Tuned(state=best, curve=tuple(curve))

    def check(self, state: TaskState) -> None:
        """Raises ValueError for a state that `run` would refuse."""
        expected = self.predictor.fingerprint
        if state.fingerprint != expected:
            raise ValueError(
                f"expected a state of model {expected}, got one of model "
                f"{state.fingerprint or '(unknown)'}"
            )
        if not jax.tree.leaves(state.replace(memory=None)):
            raise ValueError("expected a state with weights to tune, got one without")
        if state.groups != 1:
            raise ValueError(
                f"expected a state of one condition, got {state.groups}: select one "
                "with `state.take([i])`"
            )

    def _update_fn(
        self,
        params: Any,
        state: TaskState,
        parts: TaskState,
        opt_state: optax.OptState,
        batch: Batch,
        learning_rate: jax.Array,
    ) -> tuple[TaskState, optax.OptState, jax.Array]:
        """Float32 `parts` after one update, and the mean loss before it."""

        def loss(parts: TaskState) -> jax.Array:
            sums = self._sums_fn(params, _with_parts(state, parts), batch)
            return sums["nats"] / jnp.maximum(sums["tokens"], 1.0)

        value, grads = jax.value_and_grad(loss)(parts)
        updates, opt_state = self._adam.update(grads, opt_state, parts)
        updates = jax.tree.map(lambda update: learning_rate * update, updates)
        return optax.apply_updates(parts, updates), opt_state, value

    def _sums_fn(
        self, params: Any, state: TaskState, batch: Batch
    ) -> dict[str, jax.Array]:
        """Loss in nats, tokens, and examples whose whole output is predicted."""
        logits = self._module.apply(
            {"params": params}, batch, Conditioning.of(state), method="forward"
        )
        targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
        wrong = (jnp.argmax(logits, axis=-1) != targets) & (weights > 0)
        right = jnp.any(weights > 0, axis=-1) & ~jnp.any(wrong, axis=-1)
        return {
            "nats": jnp.sum(losses.cross_entropy(logits, targets) * weights),
            "tokens": jnp.sum(weights),
            "right": jnp.sum(right),
            "examples": jnp.sum(jnp.any(weights > 0, axis=-1)),
        }

    def _measured(
        self, step: int, state: TaskState, batches: Sequence[Batch]
    ) -> Measured:
        sums = [self._sums(self.predictor.params, state, batch) for batch in batches]
        total = jax.tree.map(lambda *one: float(sum(one)), *jax.device_get(sums))
        return Measured(
            step=step,
            loss=total["nats"] / total["tokens"],
            exact_match=100 * total["right"] / total["examples"],
        )


def _with_parts(state: TaskState, parts: TaskState) -> TaskState:
    """`state` with other values of its parts, in its own dtypes; its memory stays."""
    own = state.replace(memory=None)
    cast = jax.tree.map(lambda new, old: new.astype(old.dtype), parts, own)
    return cast.replace(memory=state.memory)
