"""Inference over lines: nothing good is lost, nothing bad goes unsaid."""

import io
import json
import sys
import types

import pytest

from hyperx.inference.decoding import Beam, Greedy, Sample
from hyperx.runs import infer, models


class EchoPredictor:
    """Answers every input by its condition and itself; remembers its calls."""

    def __init__(self, reads="condition"):
        method = types.SimpleNamespace(reads=reads)
        self.config = types.SimpleNamespace(method=method)
        self.adapted, self.generated, self.options = [], [], {}

    def check_text(self, text):
        if "unknown" in text:
            raise ValueError(f"expected known words, got {text!r}")

    check_condition = check_text

    @property
    def conditioned(self):
        return self.config.method.reads == "condition"

    def adapt(self, condition):
        self.adapted.append(condition)
        return condition

    def generate(self, inputs, state, *, max_new_tokens, returned, **options):
        self.generated.append(len(inputs))
        self.options = options
        texts = [f"{state}:{text}"[:max_new_tokens] for text in inputs]
        return texts if returned == 1 else [[text] * returned for text in texts]


@pytest.fixture
def predictor(monkeypatch):
    echo = EchoPredictor()
    monkeypatch.setattr(models, "load", lambda *args, **kwargs: echo)
    return echo


MALFORMED = [
    (b'{"condition": "a", "input": ', "expected a JSON object"),
    (b'["a", "x"]', "expected a JSON object, got list"),
    (b'{"condition": "a"}', "expected a string 'input', got None"),
    (b'{"input": "x"}', "expected a string 'condition', got None"),
    (b'{"condition": ["a"], "input": "x"}', "expected a string 'condition'"),
    (b'{"condition": "a", "input": "\xff\xfe"}', "expected UTF-8"),
    (rb'{"condition": "a", "input": "\ud800"}', "expected UTF-8"),
    (b"[" * 100_000, "expected a JSON object"),
    (b'{"condition": "a", "input": "unknown"}', "expected known words"),
]


def test_malformed_lines_are_reported_and_all_others_answered(
    predictor, tmp_path, capsys
):
    lines, expected = [], []
    for number, (malformed, _) in enumerate(MALFORMED):
        good = {"condition": "ab"[number % 2], "input": f"é{number}"}
        lines += [json.dumps(good, ensure_ascii=False).encode(), malformed, b""]
        output = f"{good['condition']}:{good['input']}"
        expected.append({"line": 3 * number + 1, **good, "output": output})
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join(lines))
    bad = infer.infer(
        model_dir="m", input=str(source), output=str(target), batch_size=3
    )
    assert bad == len(MALFORMED)
    answers = target.read_text(encoding="utf-8").splitlines()
    assert list(map(json.loads, answers)) == expected
    reports = [line for line in capsys.readouterr().err.splitlines() if "line" in line]
    for number, (report, (_, why)) in enumerate(zip(reports, MALFORMED, strict=True)):
        assert report.startswith(f"{source}, line {3 * number + 2}: ")
        assert why in report
    assert predictor.adapted == ["a", "b"]
    assert predictor.generated == [3, 2, 3, 1]


def test_one_condition_and_lines_on_standard_input(predictor, monkeypatch, capsys):
    # A terminal's strict decoder must not stop at bytes that are no UTF-8.
    raw = io.BytesIO("x\n\n  y é\r\n".encode() + b"\xff\n" + b'{"input": 1}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    assert infer.infer(model_dir="m", condition="do") == 1
    out, err = capsys.readouterr()
    assert list(map(json.loads, out.splitlines())) == [
        {"line": number, "condition": "do", "input": text, "output": f"do:{text}"}
        for number, text in ((1, "x"), (3, "  y é"), (5, '{"input": 1}'))
    ]
    assert "-, line 4: expected UTF-8, got '\\udcff'" in err
    assert predictor.adapted == ["do"]


def test_a_model_without_hypernetwork_needs_no_condition(
    predictor, monkeypatch, capsys
):
    predictor.config.method.reads = "prompt"
    text = '{"input": "x"}\n{"condition": [1], "input": "y"}\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert infer.infer(model_dir="m") == 1
    out, _ = capsys.readouterr()
    assert json.loads(out)["output"] == "None:x"
    assert predictor.adapted == []
    with pytest.raises(ValueError, match="expected no condition.*'prompt'.*got 'do'"):
        infer.infer(model_dir="m", condition="do")


def test_nothing_is_computed_without_a_folder_for_the_output(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "load", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(FileNotFoundError, match="expected a folder.*nowhere"):
        infer.infer(model_dir="m", output=str(tmp_path / "nowhere" / "out.jsonl"))


def test_an_output_file_is_replaced_only_when_complete(
    predictor, monkeypatch, tmp_path
):
    target = tmp_path / "out.jsonl"
    target.write_text("earlier\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    monkeypatch.setattr(json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        infer.infer(model_dir="m", condition="do", output=str(target))
    assert target.read_text() == "earlier\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Greedy()),
        (dict(beams=3), Beam(3)),
        (dict(beams=3, length_penalty=1.0), Beam(3, 1.0)),
        (dict(temperature=0.5), Sample(0.5)),
        (dict(top_k=5, top_p=0.9), Sample(1.0, 5, 0.9)),
    ],
)
def test_settings_of_decoding_reach_it(predictor, monkeypatch, given, expected):
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    assert infer.infer(model_dir="m", condition="do", seed=4, **given) == 0
    assert predictor.options == {"decoding": expected, "seed": 4}


def test_several_outputs_are_a_list(predictor, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    assert infer.infer(model_dir="m", condition="do", beams=2, returned=2) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "output" not in answer
    assert answer["outputs"] == ["do:x", "do:x"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(beams=2, top_k=3), "beam search or sampling, got beams and top_k"),
        (dict(beams=2, returned=3), "1 to 2 of 2 beams, got 3"),
        (dict(returned=2), "returned=1 of greedy decoding, got 2"),
        (dict(temperature=-1.0), "a temperature of at least 0, got -1.0"),
        (dict(top_p=1.5), r"a top_p in \(0, 1\], got 1.5"),
        (dict(top_k=0), "a top_k of at least 1, got 0"),
        (dict(beams=0), "at least 1 beam, got 0"),
        (dict(length_penalty=-0.1), "a length_penalty of at least 0, got -0.1"),
        (dict(max_new_tokens=0), "at least 1 new token, got 0"),
    ],
)
def test_contradictions_are_told_before_anything_is_loaded(monkeypatch, given, message):
    monkeypatch.setattr(models, "load", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(ValueError, match=message):
        infer.infer(model_dir="m", **given)


def test_rows_with_a_condition_are_refused_where_none_is_read():
    lines = ['{"input": "x"}', '{"input": "x", "condition": "a"}']
    rows, ((number, reason),) = infer.read_rows(lines, None, conditioned=False)
    assert [row["line"] for row in rows] == [1]
    assert number == 2
    assert "expected no condition for a model that reads inputs alone" in reason


def test_a_condition_that_is_not_known_is_an_error(predictor, tmp_path):
    output = tmp_path / "out"
    output.write_text("earlier")
    with pytest.raises(ValueError, match="expected known words"):
        infer.infer(model_dir="m", condition="unknown", output=str(output))
    assert output.read_text() == "earlier"


def test_answers_outlive_what_breaks_them_off(predictor, tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_text('{"condition": "a", "input": "x"}\n' * 3)
    generate = predictor.generate

    def broken(inputs, *args, **options):
        if len(predictor.generated) == 2:
            raise KeyboardInterrupt
        return generate(inputs, *args, **options)

    predictor.generate = broken
    with pytest.raises(KeyboardInterrupt):
        infer.infer(model_dir="m", input=str(source), output=str(output), batch_size=1)
    assert not output.exists()
    lines = (tmp_path / "out.partial").read_text().splitlines()
    assert [json.loads(line)["output"] for line in lines] == ["a:x"] * 2
    assert "2 of 3 answers are in" in capsys.readouterr().err
