"""Model directories: what they say of their model, and what they refuse."""

import dataclasses
import json

import pytest
from conftest import TINY, tiny_hint

from hyperx.checkpoints import description
from hyperx.runs import models

LENGTHS = {"condition": 8, "inputs": 8, "targets": 8}


def described(lengths=LENGTHS, vocabulary="toyworld", **backbone):
    config = tiny_hint(dataclasses.replace(TINY, **backbone))
    return models.describe(config, vocabulary, lengths)


def test_what_is_free_may_change_and_is_written_anew(tmp_path):
    description.write(tmp_path / "m", described(), models.FREE)
    lengths = LENGTHS | {"condition": 9, "prompt": 17}
    other = described(lengths, dtype="bfloat16", remat="none", dropout_rate=0.5)
    description.write(tmp_path / "m", other, models.FREE)
    assert description.read(tmp_path / "m") == json.loads(json.dumps(other))
    assert [path.name for path in (tmp_path / "m").iterdir()] == [description.FILE]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"embed_dim": 16}, "model.backbone.embed_dim: expected 16, got 32"),
        ({"tie_embeddings": True}, "tie_embeddings: expected True, got False"),
        ({"vocabulary": "bytes"}, "vocabulary: expected 'bytes', got 'toyworld'"),
    ],
)
def test_another_model_is_refused_and_nothing_changes(tmp_path, other, message):
    description.write(tmp_path, described(), models.FREE)
    before = (tmp_path / description.FILE).read_bytes()
    with pytest.raises(ValueError, match=message):
        description.write(tmp_path, described(**other), models.FREE)
    assert (tmp_path / description.FILE).read_bytes() == before


def test_what_is_no_model_is_named(tmp_path):
    for call in (models.load, description.read):
        with pytest.raises(FileNotFoundError, match="expected a trained or imported"):
            call(tmp_path)
    description.write(tmp_path, described())
    for call in (models.load, models.latest_step):
        with pytest.raises(FileNotFoundError, match="expected a checkpoint in .* none"):
            call(tmp_path)
    (tmp_path / description.FILE).write_text("{")
    with pytest.raises(ValueError, match="expected JSON in"):
        models.load(tmp_path)


def test_every_token_needs_an_embedding():
    models.check_vocabulary("toyworld", dataclasses.replace(TINY, vocab_size=512))
    with pytest.raises(ValueError, match="VOCAB_SIZE of at least .*'bytes', got 64"):
        models.check_vocabulary("bytes", TINY)


def test_tokens_of_a_later_stage_mean_the_same(tmp_path):
    description.write(tmp_path, described())
    models.check_same_vocabulary(tmp_path, "toyworld")
    with pytest.raises(ValueError, match="vocabulary of .*'toyworld', got 'bytes'"):
        models.check_same_vocabulary(tmp_path, "bytes")
    description.write(tmp_path / "m", described(vocabulary=None))
    models.check_same_vocabulary(tmp_path / "m", "bytes")


def test_a_vocabulary_of_more_words_than_the_model_has_is_refused(tmp_path):
    description.write(tmp_path, described())
    with pytest.raises(ValueError, match="VOCAB_SIZE of at least 384 for .*'bytes'"):
        models.load(tmp_path, vocabulary="bytes")
