"""promptsource's templates: reading, rendering, and what they say without data."""

import json
import os
import pathlib

import pytest

from hyperx.data import records
from hyperx.data.p3 import directories, promptsource
from hyperx.data.p3 import instruction as p3_instruction
from hyperx.data.p3 import raw as p3_raw

REPOSITORY = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(
    os.environ.get("HYPERX_TEST_DATA", REPOSITORY.parent / "shared" / "data")
)
TEMPLATES = DATA / "p3" / "promptsource_templates"
COPA = DATA / "glue_superglue" / "super_glue" / "copa"

needs_data = pytest.mark.skipif(not TEMPLATES.is_dir(), reason="no P3 at hand")
needs_copa = pytest.mark.skipif(not COPA.is_dir(), reason="no COPA at hand")

# A data set with all that templates are made of.
FILE = """\
dataset: films
subset: 2.0
templates:
  1b: !Template
    answer_choices: good ||| bad
    id: 1b
    jinja: 'Is {{ title }} good or bad? ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    name: good, or bad?
    reference: ''
  2c: !Template
    answer_choices: '{{ names | join("|||") }}'
    id: 2c
    jinja: '{% if year > 1900 %}Who? {% for n, o in zip(names, order) %}{{ o }} {{ n }};
      {% endfor %}{{ names | choice }} ||| {{ answer_choices[0] }}{% endif %}'
    metadata: !TemplateMetadata
      original_task: false
    name: who
    reference: ''
"""
ROW = {"title": "Up ||| Down", "label": 1, "year": 2001, "names": ["A", "B"]}


@pytest.fixture
def templates(tmp_path):
    (tmp_path / "films" / "2.0").mkdir(parents=True)
    (tmp_path / "films" / "2.0" / "templates.yaml").write_text(FILE)
    return promptsource.read_folder(tmp_path)


def template(jinja, answer_choices=None):
    return promptsource.Template(
        dataset="d",
        subset=None,
        name="n",
        jinja=jinja,
        answer_choices=answer_choices,
        original_task=True,
    )


def test_reading(templates):
    assert [*templates] == ["films_2.0_good_or_bad_", "films_2.0_who"]
    first = templates["films_2.0_good_or_bad_"]
    assert (first.dataset, first.subset, first.original_task) == ("films", "2.0", True)
    assert promptsource.fixed_choices(first) == ("good", "bad")
    assert promptsource.fixed_choices(templates["films_2.0_who"]) is None


def test_rendering(templates):
    rendered = promptsource.render(templates["films_2.0_good_or_bad_"], ROW)
    assert rendered == ("Is Up ||| Down good or bad?", "bad", ("good", "bad"))
    who = templates["films_2.0_who"]
    drawn = {
        promptsource.render(who, ROW | {"order": [1, 2]}, seed=str(seed))
        for seed in range(20)
    }
    assert drawn == {(f"Who? 1 A; 2 B; {name}", "A", ("A", "B")) for name in ("A", "B")}
    again = [promptsource.render(who, ROW | {"order": [1, 2]}) for _ in range(9)]
    assert len(set(again)) == 1
    empty = promptsource.render(who, ROW | {"year": 1800})
    assert empty == ("", "", ("A", "B"))


def test_columns_with_hyphens_and_separators():
    rendered = promptsource.render(
        template("{{ a_b }} ||| {{ choices[0] }}", "{{ choices | join('|||') }}"),
        {"a-b": "x", "choices": ["p ||| q", "r"]},
    )
    assert rendered == ("x", "p ||| q", ("p ||| q", "r"))


@pytest.mark.parametrize(
    ("jinja", "fault"),
    [
        ("{{ missing }} ||| y", r"columns \['a'\], got UndefinedError: 'missing'"),
        ("{{ a }", "got TemplateSyntaxError"),
        ("{{ a }}", "got 1 parts: 'x'"),
        ("{{ a }} ||| b ||| c", "got 3 parts"),
        ("{{ ''.__class__.__mro__ }} ||| y", "got SecurityError"),
    ],
)
def test_templates_that_do_not_work(jinja, fault):
    with pytest.raises(
        promptsource.MalformedTemplate, match="d_n: expected .*" + fault
    ):
        promptsource.render(template(jinja), {"a": "x"})


@pytest.mark.parametrize(
    "text", ["- a", "dataset: x", "templates: [", "dataset: !!python/name:os.system"]
)
def test_files_that_are_no_templates(tmp_path, text):
    (tmp_path / "templates.yaml").write_text(text)
    with pytest.raises(
        promptsource.MalformedTemplate, match="templates.yaml: expected"
    ):
        promptsource.read_file(tmp_path / "templates.yaml")


def test_missing_templates(tmp_path):
    with pytest.raises(FileNotFoundError, match="found nothing; clone"):
        promptsource.read_file(tmp_path / "templates.yaml")
    with pytest.raises(FileNotFoundError, match="found none; clone"):
        promptsource.read_folder(tmp_path)


def test_instructions(templates):
    assert p3_instruction.of(templates["films_2.0_good_or_bad_"]) == (
        "Is [MASK] good or bad?"
    )
    told = p3_instruction.of(templates["films_2.0_who"])
    assert told == "Who? [MASK] [MASK]; [MASK]"


@pytest.mark.parametrize(
    ("jinja", "told"),
    [
        ("{% if q == 'cause' %}why{% else %}what next{% endif %}?", "why/what next?"),
        ("{% if a %}x{% elif b %}y{% elif c %}x{% endif %}", "x/y"),
        ("{% if a %}{% if b %}x{% else %}y{% endif %}{% else %}z{% endif %}", "x/y/z"),
        ("{% if a %}{{ b }}: x ||| {% if c %}no{% endif %}{% endif %}", "[MASK]: x"),
        ("{{ a[0] | lower }}{{ a[1:] | trim('.') }}!", "[MASK]!"),
        (
            "{{ answer_choices | join(' or ') }}? {{ answer_choices[a] }}",
            "p or q? [MASK]",
        ),
        ("{{ ['x', 'y'][a] }} {{ a.b.index(c) + 1 }}", "[MASK] [MASK]"),
        (
            "{% for x in xs %}{% if not loop.last %}, {% endif %}{{ x }}{% endfor %}",
            "[MASK]",
        ),
        ("{% for c in answer_choices %}- {{ c }}\n{% endfor %}", "- p\n- q"),
        ("{% set k = ['one'] %}{{ k | choice }} {{ a | round }}", "one [MASK]"),
    ],
)
def test_instructions_of(jinja, told):
    assert p3_instruction.of(template(jinja + " ||| t", "p ||| q")) == told


def test_instructions_that_cannot_be_told():
    with pytest.raises(promptsource.MalformedTemplate, match="d_n: .* got nothing"):
        p3_instruction.of(template(" ||| {{ a }}"))
    with pytest.raises(promptsource.MalformedTemplate, match="without data, got Value"):
        p3_instruction.of(template("{{ ['x'].index(a) }} ||| b"))


@pytest.fixture
def films(tmp_path, templates):
    """Rows of films: one before 1900, one without an order."""
    rows = [ROW | {"order": [1, 2]}, ROW | {"year": 1800}, ROW]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return p3_raw.Rendered("films", "2.0", {"train": [path]}, tmp_path)


def test_rows_that_a_template_does_not_fit(films, caplog):
    caplog.set_level("INFO")
    assert set(films.splits) == {
        name + end
        for name in ("films_2.0_good_or_bad_", "films_2.0_who")
        for end in ("", "_score_eval")
    }
    with pytest.raises(
        records.MalformedRecord, match="jsonl:3: films_2.0_who: .*order"
    ):
        films.read("films_2.0_who", "train")
    read = films.read("films_2.0_who_score_eval", "train", skip_malformed=True)
    assert [(e.id, e.targets, e.choices, e.answer) for e in read] == [
        ("0", "A", ("A", "B"), 0)
    ]
    assert "left out 2 rows" in caplog.text


def test_prompts_without_rows(tmp_path, templates):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW | {"year": 1800}))
    films = p3_raw.Rendered("films", "2.0", {"train": [path]}, tmp_path)
    with pytest.raises(ValueError, match="got 1 to which it does not"):
        films.read("films_2.0_who", "train")
    with pytest.raises(FileNotFoundError, match="rows of films at .*none.jsonl"):
        p3_raw.Rendered("films", "2.0", {"train": [tmp_path / "none.jsonl"]}, tmp_path)
    with pytest.raises(FileNotFoundError, match="expected templates at"):
        p3_raw.Rendered("books", None, {"train": [path]}, tmp_path)


def test_targets_outside_the_choices(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": "x"}))
    (tmp_path / "templates.yaml").write_text(
        FILE.replace("{{ answer_choices[label] }}", "fine").replace("{{ title }}", "it")
    )
    rendered = p3_raw.Rendered("", None, {"train": [path]}, tmp_path)
    assert rendered.read("films_2.0_good_or_bad_", "train")[0].targets == "fine"
    with pytest.raises(records.MalformedRecord, match="'bad'.*, got 'fine'"):
        rendered.read("films_2.0_good_or_bad__score_eval", "train")


@needs_data
def test_the_real_templates():
    assert len([*TEMPLATES.rglob("templates.yaml")]) == 279
    templates = promptsource.read_folder(TEMPLATES)
    assert len(templates) == 2_085
    untold = []
    for name, known in templates.items():
        try:
            p3_instruction.of(known)
        except promptsource.MalformedTemplate:
            untold.append(name.split("_")[0])
    # They look a value up in a list, or want one of an empty list; none is in T0.
    assert sorted(set(untold)) == ["conv", "discofuse", "meta", "nlu"]
    assert len(untold) == 9


@needs_data
def test_real_instructions():
    templates = promptsource.read_folder(TEMPLATES)
    assert p3_instruction.of(templates["super_glue_copa_choose"]) == (
        "[MASK] because... / so...\nChoose between:\n- [MASK]\n- [MASK]"
    )
    assert p3_instruction.of(templates["qasc_is_correct_1"]) == (
        'If I tell you that [MASK], and ask you the question "[MASK]", is the correct '
        'answer "[MASK]"?'
    )


@needs_data
@needs_copa
def test_copa_rendered_here_is_copa_of_p3():
    folder = directories.open_directory(DATA / "p3")
    files = {"validation": [COPA / "validation.jsonl"]}
    rendered = p3_raw.Rendered("super_glue", "copa", files, TEMPLATES)
    names = [name for name in folder.splits if name.endswith("_score_eval")]
    assert {name for name in rendered.splits if name.endswith("_score_eval")} == {
        *names
    }
    for name in names:
        examples = rendered.read(name, "validation")
        assert examples == folder.read(name, "validation")
        plain = rendered.read(name.removesuffix("_score_eval"), "validation")
        assert [e.targets for e in plain] == [e.targets for e in examples]
