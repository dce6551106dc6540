"""Bank: task states by the address of their conditions, each made once and kept.

An id is a content address: the model's fingerprint and a digest of what the
hypernetwork reads. The same condition has the same id in every process, and an id of
another model is told by its beginning.
"""

import dataclasses
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from hyperx.inference import buckets
from hyperx.inference.predictor import Predictor
from hyperx.inference.states import addresses, joining
from hyperx.inference.states.lru import Lru
from hyperx.inference.states.spill import Spill
from hyperx.inference.states.statistics import Statistics
from hyperx.task_state import TaskState

# Conditions that are remembered after their states have left: a few kilobytes each.
REMEMBERED = 16_384


class UnknownStateError(LookupError):
    """There is no such state, and no condition to make it from."""


class Bank:
    """Keeps the task states of one model within a budget of bytes.

    States lie on the devices of the predictor's mesh. The one used longest ago leaves
    first; with a spill folder it is read from there when it is asked for again, and
    otherwise it is generated again from its condition, which the bank remembers (the
    last `REMEMBERED` of them). A spilled file that is damaged is reported, deleted, and
    generated again as well. Safe to use from several threads: whoever asks for a state
    that is being made waits for it.

    Attributes:
        predictor: makes the states.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        bytes: int,
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int | None = None,
        lengths: Sequence[int] = (),
    ) -> None:
        """Opens a bank.

        Args:
            predictor: of the model.
            bytes: most bytes of the states in memory.
            spill: folder where every state is written as it is made; None for none.
                States that an earlier process left there are found again.
            spill_bytes: most bytes of all files there; None for no limit.
            lengths: powers of two, to the least of which conditions and memories are
                padded, in tokens; longer ones are padded to any power of two. Few
                lengths mean few compiled programs.

        Raises:
            ValueError: for a length that is none, or a spill folder that is no folder
                on a disk.
        """
        if odd := [length for length in lengths if length != buckets.length(length)]:
            raise ValueError(
                f"expected powers of two from {buckets.SHORTEST} as lengths, got {odd}"
            )
        self.predictor = predictor
        self._lengths = sorted(lengths)
        self._spill = None
        if spill is not None:
            self._spill = Spill(spill, predictor.fingerprint, spill_bytes)
        self._lock = threading.Lock()
        self._states: Lru[TaskState] = Lru(bytes)
        self._conditions: OrderedDict[str, np.ndarray | None] = OrderedDict()
        self._pending: dict[str, Future[TaskState]] = {}
        self._counts = Statistics()

    def state_id(self, tokens: np.ndarray | None) -> str:
        """The id of a condition's state: 48 hexadecimal digits.

        Args:
            tokens: what the hypernetwork reads of one condition, ``[I]``; padding at
                its end does not count. None for a model that reads none.
        """
        return addresses.of_condition(self.predictor.fingerprint, self._tokens(tokens))

    def put(self, condition: str | np.ndarray | None) -> str:
        """Sees to it that the state of a condition is there.

        Args:
            condition: a text, tokens ``[I]``, or None for a model that reads none.

        Returns:
            The id of its state.

        Raises:
            ValueError: if the model cannot read the condition, or its state alone
                exceeds the budget.
        """
        tokens = self._tokens(condition)
        self.state(tokens)
        return self.state_id(tokens)

    def remember(self, condition: str | np.ndarray | None) -> str:
        """As `put`, but the state is made when `get` asks for it."""
        tokens = self._tokens(condition)
        state_id = addresses.of_condition(self.predictor.fingerprint, tokens)
        with self._lock:
            self._conditions[state_id] = tokens
            self._conditions.move_to_end(state_id)
            while len(self._conditions) > REMEMBERED:
                self._conditions.popitem(last=False)
        return state_id

    def state(self, condition: str | np.ndarray | None) -> TaskState:
        """The state of a condition, as `get` hands it out; made and kept if need be.

        Unlike `put` and then `get`, it cannot fail by a `delete` between the two.

        Args:
            condition: as of `put`.

        Raises:
            ValueError: as `put`.
        """
        tokens = self._tokens(condition)
        return self._state(self.remember(tokens), lambda: tokens)

    def fresh(self, condition: str | np.ndarray | None) -> TaskState:
        """As `state`, but always made, and neither kept nor written anywhere."""
        state = self._generated(self._tokens(condition))
        self._states.check(state.nbytes)
        return state

    def add(self, state: TaskState) -> str:
        """Takes in a state that was made elsewhere, such as a tuned one.

        It cannot be generated again: once it has left memory, it is to be had from the
        spill folder or not at all.

        Returns:
            Its id: the address of its arrays.

        Raises:
            ValueError: if it is of another model, or of several conditions.
        """
        self._check_model(state.fingerprint, "state")
        if state.groups != 1:
            raise ValueError(f"expected a state of one condition, got {state.groups}")
        state_id = addresses.of_state(state)
        if self._spill is not None:
            self._spill.write(state_id, state)
        self._keep(state_id, self._placed(state))
        return state_id

    def get(self, state_ids: Sequence[str]) -> TaskState:
        """The states of several ids, joined along their groups.

        A single one is handed out as it is kept, without a copy.

        Args:
            state_ids: G of them, which may repeat.

        Returns:
            A state whose groups are these, in their order, and whose memory is as long
            as the longest of them. G is padded to a power of two with copies of the
            last one.

        Raises:
            UnknownStateError: if an id is not known.
            ValueError: without ids, or for an id of another model.
        """
        if not state_ids:
            raise ValueError("expected at least one state id, got none")
        found = {
            one: self._state(one, functools.partial(self._condition, one))
            for one in dict.fromkeys(state_ids)
        }
        states = [found[state_id] for state_id in state_ids]
        return joining.joined(states, self.predictor.mesh)

    def __contains__(self, state_id: str) -> bool:
        """Whether `get` would find a state: here, on disk, or by its condition."""
        with self._lock:
            if state_id in self._states or state_id in self._conditions:
                return True
        return self._spill is not None and state_id in self._spill

    def held(self, state_id: str) -> int | None:
        """Bytes of a state in memory or on disk; None if it would have to be made."""
        with self._lock:
            nbytes = self._states.size(state_id)
        if nbytes is None and self._spill is not None:
            return self._spill.size(state_id)
        return nbytes

    def check(self, state_id: str) -> None:
        """Raises UnknownStateError, or ValueError for the id of another model."""
        self._check_model(state_id[: len(self.predictor.fingerprint)], "state id")
        if state_id not in self:
            raise UnknownStateError(f"expected the id of a known state, got {state_id}")

    def delete(self, state_id: str) -> bool:
        """Forgets a state, its file and its condition; whether it was known.

        One that is being made is handed to those who wait for it, and not kept.
        """
        with self._lock:
            self._pending.pop(state_id, None)
            held = self._states.pop(state_id) is not None
            known = self._conditions.pop(state_id, self) is not self
        spilled = self._spill is not None and self._spill.delete(state_id)
        return held or known or spilled

    def statistics(self) -> Statistics:
        """Counts since the bank was opened, and what it holds now."""
        with self._lock:
            now = {"states": len(self._states), "bytes": self._states.nbytes}
            counts = dataclasses.replace(self._counts, **now)
        if (spill := self._spill) is not None:
            counts.spilled, counts.failed = spill.written, spill.failed
            counts.spilled_states, counts.spilled_bytes = len(spill), spill.nbytes
        return counts

    def _state(
        self, state_id: str, condition: Callable[[], np.ndarray | None]
    ) -> TaskState:
        """One state, from memory, from disk or from its condition.

        Args:
            state_id: of it.
            condition: returns its tokens, and is called if they are needed.
        """
        with self._lock:
            if (state := self._states.get(state_id)) is not None:
                self._counts.hits += 1
                return state
            made = self._pending.get(state_id)
            if made is None:
                mine = self._pending[state_id] = Future()
        if made is not None:
            return made.result()
        try:
            mine.set_result(self._made(state_id, condition, mine))
        except BaseException as error:
            mine.set_exception(error)
        finally:
            with self._lock:
                if self._pending.get(state_id) is mine:
                    del self._pending[state_id]
        return mine.result()

    def _made(
        self,
        state_id: str,
        condition: Callable[[], np.ndarray | None],
        mine: Future[TaskState],
    ) -> TaskState:
        """One state that is not in memory; kept unless it is deleted meanwhile."""

        def wanted() -> bool:
            return self._pending.get(state_id) is mine

        loaded = None if self._spill is None else self._spill.read(state_id)
        state = self._generated(condition()) if loaded is None else self._placed(loaded)
        if loaded is None and self._spill is not None:
            self._spill.write(state_id, state, wanted)
        self._keep(state_id, state, wanted)
        with self._lock:
            self._counts.misses += loaded is None
            self._counts.loaded += loaded is not None
        return state

    def _condition(self, state_id: str) -> np.ndarray | None:
        self.check(state_id)
        with self._lock:
            tokens = self._conditions.get(state_id, self)
        if tokens is self:
            raise UnknownStateError(
                f"expected state {state_id} or its condition, got neither any more"
            )
        return tokens

    def _generated(self, tokens: np.ndarray | None) -> TaskState:
        if tokens is None:
            return self._placed(self.predictor.adapt_tokens(None))
        if self._reads_text:
            tokens = np.pad(tokens, (0, self._length(len(tokens)) - len(tokens)))
        return self._placed(self.predictor.adapt_tokens(tokens[None]))

    def _keep(
        self,
        state_id: str,
        state: TaskState,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        with self._lock:
            if not wanted():
                return
            left = self._states.put(state_id, state, state.nbytes)
            self._counts.evicted += len(left)

    def _placed(self, state: TaskState) -> TaskState:
        """The same, padded and lying as all others are: they share their programs."""
        mesh = self.predictor.mesh
        length = self._length(joining.memory_length(state))
        return joining.placed(joining.with_memory_length(state, length, mesh), mesh)

    def _length(self, length: int) -> int:
        fitting = (own for own in self._lengths if own >= length)
        return next(fitting, buckets.length(length))

    @property
    def _reads_text(self) -> bool:
        return self.predictor.config.method.reads == "condition"

    def _tokens(self, condition: str | np.ndarray | None) -> np.ndarray | None:
        """Tokens ``[I]`` without padding at their end; a task's number has none."""
        if condition is None:
            return None
        if isinstance(condition, str):
            (condition,) = self.predictor.condition_tokens([condition])
        tokens = np.asarray(condition)
        if tokens.ndim != 1:
            raise ValueError(f"expected tokens [I] of a condition, got {tokens.shape}")
        return np.trim_zeros(tokens, "b") if self._reads_text else tokens

    def _check_model(self, fingerprint: str, what: str) -> None:
        if fingerprint != self.predictor.fingerprint:
            raise ValueError(
                f"expected a {what} of model {self.predictor.fingerprint}, got one of "
                f"model {fingerprint or '(unknown)'}"
            )
