"""Toyworld: instructions that rewrite short strings of letters, made from a seed.

A condition tells one or two operations ("replace a with b , after that drop c"), an
input is 3 to 5 letters ("x a c a"), the target is what the operations make of it. A
row cannot be solved without its condition: every step changes the string. A fixed 15 %
of the ordered letter pairs is never trained; test tasks use these alone. A fixed eighth
of all strings is likewise never a training input; test inputs use these alone.

Nothing here needs TensorFlow; `hyperx.tasks.toyworld` registers the worlds with seqio.
"""

import dataclasses
import functools
import itertools
import random
import string
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

LETTERS = string.ascii_lowercase
HELD_OUT_SEED = 42
HELD_OUT_SHARE = 0.15
SEPARATOR = "."  # between condition and input in a prompt
NUM_FIXED_TASKS = 48
TASK_WORDS = tuple(f"task{i}" for i in range(NUM_FIXED_TASKS))

# What each kind of operation may be called. {a} and {b} are its arguments.
TEMPLATES = {
    "sub": (
        "replace {a} with {b}",
        "change every {a} to {b}",
        "turn {a} into {b}",
        "put {b} in place of {a}",
        "write {b} instead of {a}",
    ),
    "swap": ("swap {a} and {b}", "exchange {a} with {b}"),
    "drop": ("drop {a}", "delete every {a}", "remove all {a}"),
    "app": ("add {a} at the end", "append {a}", "put {a} last"),
    "pre": ("add {a} at the start", "prepend {a}", "put {a} first"),
    "rev": (
        "reverse the order",
        "read it backwards",
        "write it from last to first",
    ),
}
NUM_ARGUMENTS = {"sub": 2, "swap": 2, "drop": 1, "app": 1, "pre": 1, "rev": 0}
CHAINS = ("first {x} , then {y}", "{x} , after that {y}", "{x} then {y}")

# The vocabulary. The order is part of every trained model: append, never insert.
# fmt: off
WORDS = (
    *LETTERS,
    ",", ".", "add", "after", "all", "and", "append", "at", "backwards", "becomes",
    "change", "delete", "drop", "end", "every", "exchange", "first", "from", "in",
    "instead", "into", "it", "last", "of", "order", "place", "prepend", "put",
    "read", "remove", "replace", "reverse", "start", "swap", "that", "the", "then",
    "to", "turn", "with", "write",
    *TASK_WORDS,
)
# fmt: on


@functools.cache
def held_out_pairs() -> frozenset[tuple[str, str]]:
    """The ordered pairs of letters that no training task substitutes or swaps."""
    draw = np.random.default_rng(HELD_OUT_SEED).random((26, 26)) < HELD_OUT_SHARE
    pairs = ((LETTERS[i], LETTERS[j]) for i, j in np.argwhere(draw) if i != j)
    return frozenset(pairs)


def is_test_word(word: str) -> bool:
    """Whether `word` is kept for test inputs: one string in eight, by checksum."""
    return zlib.crc32(word.encode()) % 8 == 0


@dataclasses.dataclass(frozen=True)
class Operation:
    """One rewriting step: its kind and its argument letters, in order."""

    kind: str
    arguments: tuple[str, ...] = ()

    def __post_init__(self):
        if self.kind not in NUM_ARGUMENTS:
            raise ValueError(f"expected one of {[*NUM_ARGUMENTS]}, got {self.kind!r}")
        wanted = NUM_ARGUMENTS[self.kind]
        if len(self.arguments) != wanted or len(set(self.arguments)) != wanted:
            raise ValueError(
                f"expected {wanted} distinct arguments for {self.kind}, "
                f"got {self.arguments}"
            )

    def apply(self, word: str) -> str:
        """The string after this step."""
        a, b = (*self.arguments, "", "")[:2]
        match self.kind:
            case "sub":
                return word.replace(a, b)
            case "swap":
                return word.translate(str.maketrans(a + b, b + a))
            case "drop":
                return word.replace(a, "")
            case "app":
                return word + a
            case "pre":
                return a + word
            case _:
                return word[::-1]

    @property
    def held_out(self) -> bool:
        """Whether training must not contain it: a pair (swap: in either order)."""
        orders = {self.arguments}
        if self.kind == "swap":
            orders.add(self.arguments[::-1])
        return self.is_pair and not orders.isdisjoint(held_out_pairs())

    @property
    def is_pair(self) -> bool:
        return len(self.arguments) == 2

    @property
    def required(self) -> tuple[str, ...]:
        """Letters to plant in an input, so that the step is likely to change it."""
        match self.kind:
            case "sub":
                return self.arguments[:1]
            case "swap" | "drop":
                return self.arguments
            case _:
                return ()

    def say(self, template: str) -> str:
        return template.format(**dict(zip("ab", self.arguments, strict=False)))


@dataclasses.dataclass(frozen=True)
class Task:
    """Operations and the condition that tells them, by whatever means.

    `other_condition` tells the same: in other words, by other examples, or, if there is
    only one way, once more.
    """

    condition: str
    operations: tuple[Operation, ...]
    other_condition: str = ""

    def apply(self, word: str) -> str:
        """The string after all steps."""
        return apply(self.operations, word)

    @property
    def name(self) -> str:
        """The kinds of its operations, such as "drop+rev"."""
        return "+".join(operation.kind for operation in self.operations)


@dataclasses.dataclass(frozen=True)
class Row:
    """One input of a task and its result; both are strings without spaces."""

    task: Task
    word: str
    result: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """A distribution over tasks and the way in which conditions tell them."""

    name: str
    kinds: tuple[str, ...] = ("sub", "swap", "drop", "app", "pre")
    test_kinds: tuple[str, ...] | None = None  # None: `kinds`, at least one a pair
    max_steps: int = 1
    word_lengths: tuple[int, int] = (3, 5)
    shots: int = 0  # > 0: the condition shows this many examples, and no instruction
    fixed_tasks: int = 0  # > 0: this many tasks for all splits, told by an id word

    @property
    def task_names(self) -> tuple[str, ...]:
        """What its tasks may be called: id words, or else the kinds of their steps."""
        if self.fixed_tasks:
            return TASK_WORDS[: self.fixed_tasks]
        kinds = dict.fromkeys(self.kinds)
        steps = range(1, self.max_steps + 1)
        return tuple(
            "+".join(k) for n in steps for k in itertools.permutations(kinds, n)
        )

    def name_of(self, task: Task) -> str:
        """Which of `task_names` a task has."""
        return task.condition if self.fixed_tasks else task.name


WORLDS = {
    world.name: world
    for world in (
        World(
            name="toyworld",
            # Drawn more often: the kinds that must generalise to unseen pairs, and
            # most of all the one that does so last.
            kinds=(*("sub",) * 2, *("swap",) * 3, "drop", "app", "pre"),
            test_kinds=("sub", "swap"),
        ),
        World(name="toyworld_compose", kinds=tuple(TEMPLATES), max_steps=2),
        World(
            name="toyworld_fewshot",
            # A row with one of two swapped letters cannot be told from sub.
            kinds=("sub", "drop", "app", "pre"),
            test_kinds=("sub",),
            word_lengths=(3, 4),
            shots=3,
        ),
        World(name="toyworld_tasks", fixed_tasks=NUM_FIXED_TASKS),
    )
}


def spell(word: str) -> str:
    """The text of a string: its letters, separated by spaces."""
    return " ".join(word)


def apply(operations: Sequence[Operation], word: str) -> str:
    """The string after all `operations`, in order."""
    return functools.reduce(lambda w, operation: operation.apply(w), operations, word)


def generate(
    world: World, split: str, *, tasks: int, rows: int, seed: int = 0
) -> Iterator[Row]:
    """Yields `rows` rows of each of `tasks` tasks, the rows of a task adjacent.

    Args:
      world: one of `WORLDS`.
      split: "test" draws unseen tasks (unless they are fixed) and unseen inputs; any
        other name is a stream of its own from the training distribution.
      tasks: how many tasks to draw; they may repeat. Fixed tasks take turns.
      rows: rows per task, with distinct inputs.
      seed: task number i and its rows depend on (world, split, seed, i) alone.
    """
    for index in range(tasks):
        rng = random.Random(f"{world.name}/{split}/{seed}/{index}")
        yield from _draw_rows(world, index, rng, rows, test=split == "test")


def _draw_rows(
    world: World, index: int, rng: random.Random, count: int, *, test: bool
) -> list[Row]:
    while True:  # some chains are impossible: "replace c with d then drop c"
        if world.fixed_tasks:
            task = fixed_tasks(world)[index % world.fixed_tasks]
        else:
            task = _draw_task(world, rng, test=test)
        words = _draw_words(world, task, rng, count + world.shots, test=test)
        if words is not None:
            break
    shown, asked = words[: world.shots], words[world.shots :]
    if shown:
        task = dataclasses.replace(task, condition=_show(task, shown))
    # The last to be drawn, so that nothing else depends on it.
    other = _tell_again(world, task, words, rng, test=test)
    task = dataclasses.replace(task, other_condition=other)
    return [Row(task, word, task.apply(word)) for word in asked]


def _tell_again(
    world: World, task: Task, words: Sequence[str], rng: random.Random, *, test: bool
) -> str:
    """Another condition for a task of which `words` are shown or asked already."""
    if world.fixed_tasks:
        return task.condition
    if not world.shots:
        while (said := _say(task.operations, rng)) == task.condition:
            pass
        return said
    count = len(words) + world.shots  # at least `shots` of them are others
    while (drawn := _draw_words(world, task, rng, count, test=test)) is None:
        pass
    return _show(task, [word for word in drawn if word not in words][: world.shots])


def _show(task: Task, words: Sequence[str]) -> str:
    return " ".join(f"{spell(w)} becomes {spell(task.apply(w))} ," for w in words)


def _draw_task(world: World, rng: random.Random, *, test: bool) -> Task:
    kinds = world.kinds if not test else world.test_kinds or world.kinds
    while True:
        drawn = rng.sample(kinds, rng.randint(1, world.max_steps))
        pairs = [NUM_ARGUMENTS[kind] == 2 for kind in drawn]
        if any(pairs) or not test:
            break
    operations = tuple(_draw_operation(kind, rng, test=test) for kind in drawn)
    return Task(_say(operations, rng), operations)


def _say(operations: Sequence[Operation], rng: random.Random) -> str:
    said = [op.say(rng.choice(TEMPLATES[op.kind])) for op in operations]
    if len(said) == 1:
        return said[0]
    return rng.choice(CHAINS).format(x=said[0], y=said[1])


def _draw_operation(kind: str, rng: random.Random, *, test: bool) -> Operation:
    while True:
        arguments = rng.sample(LETTERS, NUM_ARGUMENTS[kind])
        operation = Operation(kind, tuple(arguments))
        if not operation.is_pair or operation.held_out == test:
            return operation


def _draw_words(
    world: World, task: Task, rng: random.Random, count: int, *, test: bool
) -> list[str] | None:
    """`count` distinct inputs that every step changes, or None if they are rare."""
    words: dict[str, None] = {}  # an ordered set
    for _ in range(30 * count * (8 if test else 1)):
        word = _draw_word(world, task, rng)
        if is_test_word(word) == test and changes_throughout(task.operations, word):
            words[word] = None
        if len(words) == count:
            return list(words)
    return None


def _draw_word(world: World, task: Task, rng: random.Random) -> str:
    letters = rng.choices(LETTERS, k=rng.randint(*world.word_lengths))
    planted = {letter for op in task.operations for letter in op.required}
    places = rng.sample(range(len(letters)), len(letters))
    for place, letter in zip(places, sorted(planted), strict=False):
        letters[place] = letter
    return "".join(letters)


def changes_throughout(operations: Sequence[Operation], word: str) -> bool:
    """Whether every step changes the string, all steps do, and something is left."""
    start = word
    for operation in operations:
        before, word = word, operation.apply(word)
        if word == before:
            return False
    return word not in ("", start)


@functools.cache
def fixed_tasks(world: World) -> tuple[Task, ...]:
    """The tasks of a world that has a fixed number of them: all different."""
    rng = random.Random(f"{world.name}/tasks")
    operations: dict[tuple[Operation, ...], None] = {}
    while len(operations) < world.fixed_tasks:
        operations[_draw_task(world, rng, test=False).operations] = None
    return tuple(
        Task(word, ops, word) for word, ops in zip(TASK_WORDS, operations, strict=True)
    )
