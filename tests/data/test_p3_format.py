"""P3's conditions, token by token."""

import pytest

from hyperx.data.p3 import formats as p3_format
from hyperx.data.p3 import rows as p3_rows


def example(number, text, target):
    return p3_rows.Example(id=str(number), inputs=text, targets=target)


# One token for a word, in the order of the alphabet from 5 on.
def encode(text):
    return [5 + ord(word) - ord("a") for word in text.split()]


def writer(condition, told="", max_tokens=1024):
    form = p3_format.Format(condition=condition, max_tokens=max_tokens)
    return form, p3_format.Writer(form, encode, 200, told)


def test_few_shot_layout_token_by_token():
    _, write = writer("few_shot")
    shown = [write.example(example(0, "a b", "c")), write.example(example(1, "d", "e"))]
    x, y = 100, 101
    assert write.condition(shown).tokens == [x, 5, 6, y, 7, x, 8, y, 9]
    prompt = write.prompt(shown, example(2, "f", "g"))
    assert prompt.tokens == [x, 5, 6, y, 7, x, 8, y, 9, x, 10, y]
    assert prompt.text.strip() == (
        "<extra_id_99> a b <extra_id_98> c <extra_id_99> d <extra_id_98> e "
        "<extra_id_99> f <extra_id_98>"
    )


@pytest.mark.parametrize(
    ("limit", "shown", "beside"), [(10, 2, 1), (9, 1, 1), (9 + 4, 2, 2), (3, 1, 0)]
)
def test_whole_examples_up_to_the_first_that_does_not_fit(limit, shown, beside):
    _, write = writer("few_shot", max_tokens=limit)
    pairs = [("a b", "c"), ("d", "e"), ("a", "b c d e f g"), ("a", "")]
    told = [write.example(example(0, *pair)) for pair in pairs]
    full = [token for piece in told[:shown] for token in piece.tokens]
    assert write.condition(told).tokens == full
    asked = write.prompt(told, example(1, "f", "g")).tokens
    full = [token for piece in told[:beside] for token in piece.tokens]
    assert asked == [*full, 100, 10, 101]


def test_other_conditions():
    form = p3_format.Format(condition="both")
    texts = p3_format.Writer(form, lambda text: text.encode(), 999, "do [MASK]")
    shown = [
        texts.example(example(0, "in", "out")),
        texts.example(example(1, "a", "b")),
    ]
    assert texts.condition(shown).text == (
        "in Output: out\n\na Output: b\n\n Definition: do [MASK]"
    )
    asked = texts.prompt(shown[:1], example(2, "ask", "c"))
    assert asked.text == "in Output: out\n\n Definition: do [MASK]\nask"
    for condition in ("template", "name"):
        _, write = writer(condition, told="t u")
        assert write.condition([]).tokens == encode("t u")
        assert write.prompt([], example(0, "a", "b")).tokens == encode("t u a")
    with pytest.raises(ValueError, match="expected a condition of .*, got 'zero'"):
        p3_format.Format(condition="zero")


def made(split_rows, support=None, **options):
    form = p3_format.Format(condition="few_shot", **options)
    write = p3_format.Writer(form, encode, 200)
    return list(p3_format.rows("task", split_rows, support, form, write))


def test_episodes():
    alphabet = "abcdefghijklmnopq"
    split = [example(i, letter, letter) for i, letter in enumerate(alphabet)]
    rows = made(split, shots=3, queries=4, passes=2, seed=1)
    assert len(rows) == 34
    assert len({row["id"] for row in rows}) == 34
    for turn in (rows[:17], rows[17:]):
        assert sorted(row["references"][0] for row in turn) == [*alphabet]
        for start in range(0, 17, 4):
            run = turn[start : start + 4]
            assert len({row["condition"].tobytes() for row in run}) == 1
            told = run[0]["condition"].tolist()
            assert (len(told), told[::4]) == (12, [100] * 3)
            for row in run:
                assert row["inputs"].item() not in told
    again, other = (made(split, shots=3, queries=4, passes=2, seed=s) for s in (1, 2))
    assert [r["condition_pretokenized"] for r in again] == [
        r["condition_pretokenized"] for r in rows
    ]
    assert [r["id"] for r in other] != [r["id"] for r in rows]


def test_support_of_another_split_is_drawn_once():
    split = [example(i, "a", "b") for i in range(3)]
    support = [example(i, letter, letter) for i, letter in enumerate("cdefgh")]
    rows = made(split, support, shots=2)
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert len({row["condition"].tobytes() for row in rows}) == 1
    assert len(rows[0]["condition"]) == 8
    texts = {
        made(split, support, shots=2, seed=s)[0]["condition"].tobytes()
        for s in range(9)
    }
    assert len(texts) > 1
