"""Engine: batches of rows on the device, in shapes that were compiled beforehand."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from hyperx import sharding
from hyperx.backbone.t5 import EOS
from hyperx.inference import buckets
from hyperx.inference.bank import Bank
from hyperx.inference.decoding import Greedy, Requests, Running, Shape
from hyperx.inference.predictor import Predictor
from hyperx.inference.states import joining
from hyperx.serve import menu
from hyperx.serve.jobs import Job, Kind, Row
from hyperx.serve.menu import Layout
from hyperx.serve.settings import Settings
from hyperx.task_state import TaskState

States = Mapping[str, TaskState]

# Choices of an input that are scored side by side; more of them take several rows.
CHOICES = 4


class Engine:
    """Runs rows of one kind together. One thread at a time.

    Attributes:
        length: tokens of outputs that there is room for.
    """

    def __init__(
        self,
        predictor: Predictor,
        bank: Bank,
        settings: Settings,
        input_lengths: Sequence[int],
        condition_lengths: Sequence[int],
    ) -> None:
        self._predictor, self._bank, self._settings = predictor, bank, settings
        self._input_lengths = input_lengths
        self._condition_lengths = condition_lengths
        self.length = buckets.length(settings.max_new_tokens)

    def room(self, kind: Kind) -> int:
        """Most rows of a kind that are computed together."""
        if kind.task == "adapt":
            return 1
        return self._settings.max_batch // buckets.size(kind.beams)

    def layout(self, rows: Sequence[Row]) -> Layout:
        """Where rows of one kind will lie."""
        return menu.layout([row.state_id for row in rows], self._menu(rows[0].kind))

    def begin(self, rows: Sequence[Row], layout: Layout, states: States) -> "Batch":
        """Everything up to the first token of rows of one kind."""
        kind, state = rows[0].kind, self._joined(layout, states)
        shape = Shape(self.length, kind.beams, beam=kind.beams > 1)
        wishes = [row.requests for row in rows]
        running = self._predictor.begin(
            self._inputs(rows, layout), state, _requests(wishes, layout), shape
        )
        return Batch(self._predictor, layout, running)

    def score(
        self, rows: Sequence[Row], layout: Layout, states: States
    ) -> list[list[float]]:
        """Log-probabilities of each row's choices."""
        state = self._joined(layout, states)
        shape = (len(layout.groups), layout.rows, CHOICES, self.length)
        choices = np.zeros(shape, np.int32)
        for row, (group, cell) in zip(rows, layout.cells, strict=True):
            for number, tokens in enumerate(row.choices):
                choices[group, cell, number, : len(tokens)] = tokens
        inputs = self._inputs(rows, layout)
        scores = self._predictor.score_tokens(inputs, choices, state)
        return [
            scores[cell][: len(row.choices)].tolist()
            for row, cell in zip(rows, layout.cells, strict=True)
        ]

    def warm_up(self, progress: Callable[[int, int], None]) -> None:
        """Compiles all that rows may need, by computing it once.

        Args:
            progress: called with how many programs are ready, of how many.
        """
        # Past what the bank keeps: these conditions may be those of clients.
        states = {
            self._bank.state_id(tokens): self._bank.fresh(tokens)
            for tokens in self._conditions()
        }
        if self._predictor.conditioned:
            for pair in itertools.permutations(states.values(), 2):
                joining.joined(pair, self._predictor.mesh)
        todo = [
            (kind, state_id, shape)
            for kind, state_id in itertools.product(self._kinds(), states)
            for shape in self._menu(kind)
        ]
        progress(0, len(todo))
        for number, (kind, state_id, shape) in enumerate(todo, start=1):
            layout = Layout((state_id,) * shape[0], shape[1], ((0, 0),))
            self._try(kind, layout, states)
            progress(number, len(todo))

    def _try(self, kind: Kind, layout: Layout, states: States) -> None:
        """Computes one row of a kind."""
        end = np.array([EOS], np.int32)
        row = Row(Job(1), 0, kind, layout.groups[0], tokens=end, choices=[end])
        if kind.task == "score":
            self.score([row], layout, states)
            return
        row.requests = Requests.of(Greedy(), self.length)
        batch = self.begin([row], layout, states)
        for _ in range(2):  # What was paused once is laid out as all that follows.
            batch.advance(1)
            batch.drop([])

    def _kinds(self) -> Iterator[Kind]:
        for length in self._input_lengths:
            yield Kind("generate", length)
            yield Kind("score", length)
            for beams in self._settings.beams:
                yield Kind("beam", length, beams)

    def _conditions(self) -> Iterator[np.ndarray | None]:
        """Conditions of every length that states may have."""
        reads = self._predictor.config.method.reads
        if reads != "condition":
            yield np.zeros(1, np.int32) if reads == "task" else None
            return
        for length in self._condition_lengths:
            yield np.full(length, EOS, np.int32)

    def _joined(self, layout: Layout, states: States) -> TaskState:
        own = [states[state_id] for state_id in layout.groups]
        return joining.joined(own, self._predictor.mesh)

    def _menu(self, kind: Kind) -> list[menu.Shape]:
        return menu.shapes(self.room(kind), grouped=self._predictor.conditioned)

    def _inputs(self, rows: Sequence[Row], layout: Layout) -> np.ndarray:
        """Input tokens ``[G, R, S]``; cells without a row are padding."""
        shape = (len(layout.groups), layout.rows, rows[0].kind.length)
        tokens = np.zeros(shape, np.int32)
        for row, (group, cell) in zip(rows, layout.cells, strict=True):
            tokens[group, cell, : len(row.tokens)] = row.tokens
        return tokens


class Batch:
    """Rows that are being decoded.

    Attributes:
        tokens: written so far, ``[G, R, W, T]``; here and below as of the last
            `advance`.
        lengths: how many, ``[G, R, W]``.
        scores: log-probabilities ``[G, R, W]``.
        done: hypotheses that ended, ``[G, R, W]``.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray
    done: np.ndarray

    def __init__(self, predictor: Predictor, layout: Layout, running: Running) -> None:
        self._predictor, self._running = predictor, running
        self._grid = (len(layout.groups), layout.rows)

    def advance(self, count: int) -> None:
        """Writes up to `count` tokens more of every row."""
        self._running = running = self._predictor.advance(self._running, count)
        # Copies: what is running now will be overwritten.
        self.tokens, self.lengths, self.scores, self.done = map(
            np.array, (running.tokens, running.lengths, running.scores, running.done)
        )

    def drop(self, cells: Sequence[tuple[int, int]]) -> None:
        """Stops rows that nobody waits for."""
        dropped = np.zeros((*self._grid, 1), bool)
        for cell in cells:
            dropped[cell] = True
        with sharding.use(self._predictor.mesh):
            self._running = self._running.replace(
                done=_either(self._running.done, dropped)
            )


@jax.jit
def _either(done: jax.Array, dropped: jax.Array) -> jax.Array:
    return done | dropped


def _requests(wishes: Sequence[Requests], layout: Layout) -> Requests:
    """Wishes of all cells, ``[G, R]``; any where there is no row."""
    whole = Requests.of(Greedy(), 1).full(len(layout.groups), layout.rows)
    whole = jax.tree.map(np.array, whole)
    for own, cell in zip(wishes, layout.cells, strict=True):
        for to, value in zip(jax.tree.leaves(whole), jax.tree.leaves(own), strict=True):
            to[cell] = value
    return whole
