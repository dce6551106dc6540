"""The rules of toyworld, over all its worlds, and the tasks registered from it."""

import itertools
import zlib

import pytest
import seqio

import hyperx.tasks.toyworld as tasks
from hyperx.data.toyworld import follower as toyworld_follower
from hyperx.data.toyworld import world as toyworld
from hyperx.data.toyworld.world import Operation

NAMES = [*toyworld.WORLDS]
INSTRUCTED = ["toyworld", "toyworld_compose"]

# Of the first rows of every world: trained models and reports rest on them.
CHECKSUMS = {
    "toyworld": 3814042239,
    "toyworld_compose": 2887579262,
    "toyworld_fewshot": 1221910296,
    "toyworld_tasks": 4132599634,
}


def draw(name, split, tasks=300, rows=4, seed=0):
    world = toyworld.WORLDS[name]
    return list(toyworld.generate(world, split, tasks=tasks, rows=rows, seed=seed))


@pytest.mark.parametrize(
    ("kind", "arguments", "word", "result"),
    [
        ("sub", "ab", "aabc", "bbbc"),
        ("swap", "ab", "aabc", "bbac"),
        ("drop", "a", "abca", "bc"),
        ("app", "a", "bc", "bca"),
        ("pre", "a", "bc", "abc"),
        ("rev", "", "abc", "cba"),
    ],
)
def test_operations(kind, arguments, word, result):
    assert Operation(kind, tuple(arguments)).apply(word) == result


@pytest.mark.parametrize(
    ("kind", "arguments"), [("sub", "a"), ("swap", "aa"), ("x", "")]
)
def test_operations_refuse_nonsense(kind, arguments):
    with pytest.raises(ValueError, match="expected"):
        Operation(kind, tuple(arguments))


@pytest.mark.parametrize(
    ("instruction", "inputs", "answer"),
    [
        ("put b in place of a", "c a a", "c b b"),
        ("first append a , then swap s and q", "o s q", "o q s a"),
        ("read it backwards , after that add f at the end", "p z u", "u z p f"),
        ("put a first then put b last", "c d e", "a c d e b"),
    ],
)
def test_follow(instruction, inputs, answer):
    assert toyworld_follower.follow(instruction, inputs) == answer


def test_follow_refuses_other_text():
    with pytest.raises(ValueError, match="got 'drop the a'"):
        toyworld_follower.follow("drop the a", "a b c")


def test_every_template_says_its_operation():
    for kind, templates in toyworld.TEMPLATES.items():
        arguments = tuple("qz"[: toyworld.NUM_ARGUMENTS[kind]])
        for template in templates:
            said = Operation(kind, arguments).say(template)
            assert toyworld_follower.parse(said) == (Operation(kind, arguments),)


def test_held_out_pairs_are_fixed():
    pairs = toyworld.held_out_pairs()
    assert len(pairs) == 106
    assert len({frozenset(pair) for pair in pairs}) == 98
    assert all(a != b for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_training_has_no_held_out_pair_and_no_test_word(name, split):
    for row in draw(name, split):
        assert not any(op.held_out for op in row.task.operations)
        assert not toyworld.is_test_word(row.word)


@pytest.mark.parametrize("name", ["toyworld", "toyworld_compose", "toyworld_fewshot"])
def test_test_tasks_are_unseen(name):
    for row in draw(name, "test", tasks=64):
        pairs = [op for op in row.task.operations if op.is_pair]
        assert pairs
        assert all(op.held_out for op in pairs)


def test_swap_is_held_out_in_either_order():
    a, b = next(iter(toyworld.held_out_pairs()))
    assert Operation("swap", (a, b)).held_out
    assert Operation("swap", (b, a)).held_out
    assert not Operation("drop", (a,)).held_out


def test_fixed_tasks_are_distinct_and_asked_about_new_inputs():
    world = toyworld.WORLDS["toyworld_tasks"]
    fixed = toyworld.fixed_tasks(world)
    assert len({task.operations for task in fixed}) == world.fixed_tasks
    trained, tested = draw(world.name, "train"), draw(world.name, "test")
    assert {row.task for row in trained} == {row.task for row in tested} == {*fixed}
    assert not {row.word for row in trained} & {row.word for row in tested}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_step_changes_the_string(name, split):
    for row in draw(name, split):
        words = [row.word]
        for operation in row.task.operations:
            words.append(operation.apply(words[-1]))
        assert all(a != b for a, b in itertools.pairwise(words))
        assert words[-1] == row.result != row.word
        assert row.result


@pytest.mark.parametrize(
    ("instruction", "word", "changes"),
    [
        ("drop a", "bab", True),
        ("drop a", "bbb", False),
        ("drop a", "aaa", False),  # nothing is left
        ("replace c with d then drop c", "bcd", False),  # impossible for any word
        ("put a first then drop a", "bcd", False),  # copying would be right
    ],
)
def test_changes_throughout(instruction, word, changes):
    operations = toyworld_follower.parse(instruction)
    assert toyworld.changes_throughout(operations, word) is changes


@pytest.mark.parametrize("name", INSTRUCTED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_following_the_instruction_gives_the_result(name, split):
    for row in draw(name, split):
        assert toyworld_follower.parse(row.task.condition) == row.task.operations
        answer = toyworld_follower.follow(row.task.condition, toyworld.spell(row.word))
        assert answer == toyworld.spell(row.result)


def test_examples_show_the_operation_on_other_words():
    world = toyworld.WORLDS["toyworld_fewshot"]
    for row in draw(world.name, "train"):
        shown = row.task.condition.removesuffix(" ,").split(" , ")
        pairs = [[w.replace(" ", "") for w in s.split(" becomes ")] for s in shown]
        assert len(pairs) == world.shots
        assert all(row.task.apply(before) == after for before, after in pairs)
        assert row.word not in [before for before, _ in pairs]


@pytest.mark.parametrize("name", INSTRUCTED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_another_condition_says_the_same_in_other_words(name, split):
    for row in draw(name, split):
        assert row.task.other_condition != row.task.condition
        assert toyworld_follower.parse(row.task.other_condition) == row.task.operations


@pytest.mark.parametrize("split", ["train", "test"])
def test_another_condition_shows_other_examples(split):
    drawn = draw("toyworld_fewshot", split, tasks=100, rows=4)
    for start in range(0, 400, 4):
        rows = drawn[start : start + 4]
        task = rows[0].task
        shown = [
            part.replace(" ", "").split("becomes")
            for told in (task.condition, task.other_condition)
            for part in told.removesuffix(" ,").split(" , ")
        ]
        assert all(task.apply(before) == after for before, after in shown)
        words = [before for before, _ in shown] + [row.word for row in rows]
        assert len(set(words)) == len(words) == 3 + 3 + 4


def test_a_named_task_has_one_condition():
    for row in draw("toyworld_tasks", "train", tasks=48):
        assert row.task.other_condition == row.task.condition


@pytest.mark.parametrize(("name", "checksum"), CHECKSUMS.items())
def test_rows_are_what_they_always_were(name, checksum):
    rows = [
        (row.task.condition, row.word, row.result)
        for split in ("train", "test")
        for row in draw(name, split)
    ]
    assert zlib.crc32(repr(rows).encode()) == checksum


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_task_are_adjacent_and_distinct(name):
    rows = draw(name, "train", tasks=20, rows=5)
    for start in range(0, 100, 5):
        group = rows[start : start + 5]
        assert len({row.task for row in group}) == 1
        assert len({row.word for row in group}) == 5


@pytest.mark.parametrize("name", NAMES)
def test_drawing_is_a_function_of_the_seed(name):
    assert draw(name, "train") == draw(name, "train")
    assert draw(name, "train")[:40] == draw(name, "train", tasks=10)
    assert draw(name, "train") != draw(name, "train", seed=1)
    words = [[r.word for r in draw(name, s, tasks=10)] for s in ("train", "validation")]
    assert words[0] != words[1]


@pytest.mark.parametrize("name", INSTRUCTED)
def test_oracle_floor_equals_brute_force(name):
    rows = draw(name, "test", tasks=64, rows=8)
    told = [row.task.condition for row in rows]
    assert toyworld_follower.oracle_floor(rows, told) == 100
    wrong = told[8:] + told[:8]
    right = [
        toyworld_follower.follow(condition, toyworld.spell(row.word)).replace(" ", "")
        == row.result
        for condition, row in zip(wrong, rows, strict=True)
    ]
    assert toyworld_follower.oracle_floor(rows, wrong) == pytest.approx(
        100 * sum(right) / 512
    )


def test_oracle_floor_by_hand():
    operations = (Operation("sub", ("a", "b")), Operation("swap", ("a", "b")))
    sub, swap = (toyworld.Task(op.kind, (op,)) for op in operations)
    # Obeying the other one is right for "ac", where they agree, and wrong for "abc".
    rows = [toyworld.Row(t, w, t.apply(w)) for t in (sub, swap) for w in ("ac", "abc")]
    assert toyworld_follower.oracle_floor(rows, ["swap", "swap", "sub", "sub"]) == 50


@pytest.mark.parametrize("name", NAMES)
def test_oracle_floor_is_low(name):
    rows = tasks.rows(name, "test")
    told = [row.task.condition for row in rows]
    assert toyworld_follower.oracle_floor(rows, told) == 100
    assert toyworld_follower.oracle_floor(rows, told[8:] + told[:8]) < 5


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("toyworld", (8, 6, 14, 8)),
        ("toyworld_compose", (18, 6, 24, 8)),
        ("toyworld_fewshot", (34, 5, 39, 6)),
        ("toyworld_tasks", (2, 6, 8, 8)),
    ],
)
def test_registered_task(name, lengths):
    task = seqio.get_mixture_or_task(name)
    drawn = tasks.rows(name, "test")
    dataset = task.get_dataset(None, "test", shuffle=False)
    examples = list(dataset.as_numpy_iterator())
    assert len(examples) == task.num_input_examples("test") == len(drawn)
    for example, row in zip(examples, drawn, strict=True):
        condition, inputs = row.task.condition, toyworld.spell(row.word)
        assert example["prompt_pretokenized"].decode() == f"{condition} . {inputs}"
        assert example["condition_pretokenized"].decode() == condition
        assert example["targets_pretokenized"].decode() == toyworld.spell(row.result)
        world = toyworld.WORLDS[name]
        assert example["task"].decode() == world.name_of(row.task)
        limits = (*lengths, lengths[0])  # another condition is as long as the first
        for feature, limit in zip(tasks.FEATURES, limits, strict=True):
            tokens = example[feature]
            vocabulary = task.output_features[feature].vocabulary
            text = example[f"{feature}_pretokenized"].decode()
            assert len(tokens) <= limit
            assert tokens[-1] == 1
            assert vocabulary.decode(tokens) == text
    assert len({example["id"] for example in examples}) == len(examples)


def test_registered_task_trims_before_eos():
    task = seqio.get_mixture_or_task("toyworld")
    short = dict.fromkeys(tasks.FEATURES, 3)
    example = next(iter(task.get_dataset(short, "test", shuffle=False)))
    assert [len(example[f]) for f in tasks.FEATURES] == [3] * 5
    assert all(example[f][-1] == 1 for f in tasks.FEATURES)


def test_exact_match_is_in_percent():
    assert tasks.exact_match(["a b", "c", "d"], ["a b", "c c", "d"]) == {
        "exact_match": pytest.approx(200 / 3)
    }
