"""`hyperx import` of a Hugging Face folder, and its way back."""

import dataclasses
import io

import numpy as np
import pytest
import sentencepiece
from conftest import TINY
from flax import traverse_util

import hyperx
from hyperx import cli
from hyperx.checkpoints.huggingface import writing
from hyperx.methods.plain import Plain
from hyperx.model import ModelConfig, abstract_parameters
from hyperx.runs import exchange, models

BACKBONE = dataclasses.replace(TINY, vocab_size=256)


@pytest.fixture(scope="module")
def vocabulary():
    """A SentencePiece model of a few words."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["add b drop a swap c d e"] * 9),
        model_writer=written,
        vocab_size=17,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory, vocabulary):
    """A T5 as Hugging Face keeps it."""
    folder = tmp_path_factory.mktemp("import") / "hf"
    rng = np.random.default_rng(0)
    config = ModelConfig(backbone=BACKBONE, method=Plain())
    shapes = traverse_util.flatten_dict(abstract_parameters(config).shapes)
    params = {k: rng.normal(size=v.shape).astype("float32") for k, v in shapes.items()}
    params = traverse_util.unflatten_dict(params)
    writing.write(folder, BACKBONE, params, dtype="float32")
    (folder / exchange.VOCABULARY).write_bytes(vocabulary)
    return folder


def test_a_model_takes_its_vocabulary_along(tmp_path, source, vocabulary):
    assert cli.main(["import", "--from=hf", str(source), f"--to={tmp_path}/a"]) == 0
    (tmp_path / "a").rename(tmp_path / "b")
    predictor = hyperx.load(tmp_path / "b")
    processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
    assert predictor.vocabulary.encode("drop a") == processor.encode("drop a")
    models.check_same_vocabulary(tmp_path / "b", str(source / exchange.VOCABULARY))
    with pytest.raises(ValueError, match=r"b/spiece\.model', got 'bytes'"):
        models.check_same_vocabulary(tmp_path / "b", "bytes")

    back = tmp_path / "hf"
    argv = ["export", "--to=hf", f"--model_dir={tmp_path}/b", f"--output={back}"]
    assert cli.main(argv) == 0
    for name in (exchange.VOCABULARY, "model.safetensors"):
        assert (back / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize(
    "argv",
    [
        ["import", "--from=hf", "nowhere", "--to=gs://bucket/x"],
        ["export", "--to=t5x", "--model_dir={model}", "--output=gs://bucket/x"],
    ],
)
def test_an_address_is_refused(argv, source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", "--from=hf", str(source), "--to=model"]) == 0
    assert cli.main([word.format(model="model") for word in argv]) == 1
    assert "a folder on a disk, got gs://bucket/x" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
