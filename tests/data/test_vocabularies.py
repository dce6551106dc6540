"""Names to vocabularies, and the word vocabulary in Python and in TensorFlow."""

import copy
import pathlib
import pickle
import shutil

import pytest
import sentencepiece
import seqio
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from hyperx.data import vocabularies
from hyperx.data.toyworld import world as toyworld


@pytest.fixture(scope="module")
def words():
    return vocabularies.get("toyworld")


def test_known_names():
    assert vocabularies.get("bytes") == seqio.ByteVocabulary(125)
    assert vocabularies.get("bytes").vocab_size == 384
    assert vocabularies.get("toyworld") is vocabularies.get("toyworld")


def test_missing_model_names_its_path():
    with pytest.raises(FileNotFoundError, match=r"nowhere/sentencepiece\.model"):
        vocabularies.get("nowhere/sentencepiece.model")


def test_urls_are_left_to_first_use():
    vocabulary = vocabularies.get("gs://nobody/x.model")
    assert vocabulary.sentencepiece_model_file == "gs://nobody/x.model"


def trained(path, text="a small text"):
    """The name of a SentencePiece model of a few words."""
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text, "another text"] * 20),
            model_writer=file,
            vocab_size=24,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return str(path)


def with_sentinels(name, path):
    """The name of the same model with sentinels as pieces of its own."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(pathlib.Path(name).read_bytes())
    for number in reversed(range(100)):
        model.pieces.add(piece=f"▁<extra_id_{number}>", type=4)
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_sentencepiece_models_have_sentinels(tmp_path):
    name = trained(tmp_path / "a.model")
    added = vocabularies.get(name)
    own = vocabularies.get(with_sentinels(name, tmp_path / "b.model"))
    for vocabulary in (added, own):
        assert vocabulary.extra_ids == 100
        assert vocabulary.vocab_size == added.vocab_size
        assert vocabulary.tokenizer.IdToPiece(added.vocab_size - 1) == "▁<extra_id_0>"
        assert vocabulary.decode(vocabulary.encode("a small text")) == "a small text"
        ids = vocabulary.encode_tf(tf.constant("a small text")).numpy().tolist()
        assert ids == vocabulary.encode("a small text")
    assert pickle.loads(pickle.dumps(own)) == own
    assert copy.deepcopy(own).encode("text") == own.encode("text")


def test_what_counts_is_the_meaning_of_ids(tmp_path):
    name = trained(tmp_path / "a.model")
    copied = shutil.copyfile(name, tmp_path / "copy.model")
    assert vocabularies.same(name, str(copied))
    assert vocabularies.same(name, with_sentinels(name, tmp_path / "b.model"))
    assert not vocabularies.same(name, trained(tmp_path / "c.model", "other words"))
    assert not vocabularies.same(name, "bytes")
    assert vocabularies.same("bytes", "bytes")
    assert vocabularies.get("gs://nobody/x.model") != vocabularies.get(name)


def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / "x.model"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"expected a SentencePiece model, got .*x\."):
        vocabularies.get(str(path)).encode("a")


@pytest.mark.parametrize("name", ["cc_all.32000", "nanodo_cc_all.32000.100extra"])
def test_public_models(data_dir, name):
    vocabulary = vocabularies.get(
        str(data_dir / "vocab" / name / "sentencepiece.model")
    )
    size = vocabulary.vocab_size
    assert size == {"cc_all.32000": 32_100}.get(name, 32_101)
    assert vocabulary.tokenizer.IdToPiece(size - 100) == "▁<extra_id_99>"
    assert vocabulary.decode(vocabulary.encode("Hello world.")) == "Hello world."


def test_ids_are_fixed(words):
    assert words.encode("a z , write task0 task47") == [2, 27, 28, 68, 69, 116]
    assert (words.pad_id, words.eos_id, words.vocab_size) == (0, 1, 117)


def test_letters_are_no_words():
    others = toyworld.WORDS[26:]
    assert len(set(toyworld.WORDS)) == len(toyworld.WORDS)
    assert not set(others) & set(toyworld.LETTERS)
    templates = [t for group in toyworld.TEMPLATES.values() for t in group]
    spoken = {w for t in (*templates, *toyworld.CHAINS) for w in t.split()}
    spoken -= {"{a}", "{b}", "{x}", "{y}"}
    assert spoken <= set(others)


@pytest.mark.parametrize("text", ["", "a", "replace a with b then drop c . x a b"])
def test_round_trip_in_python_and_tensorflow(words, text):
    ids = words.encode(text)
    assert words.decode(ids) == text
    assert words.encode_tf(tf.constant(text)).numpy().tolist() == ids
    assert words.decode_tf(tf.constant(ids, tf.int32)).numpy().decode() == text


def test_decoding_stops_at_eos_and_shows_foreign_ids(words):
    ids = [[2, 117, 3, 1, 4], [5, 0, 6, 0, 1]]
    wanted = ["a <?> b", "d e"]
    assert [words.decode(row) for row in ids] == wanted
    decoded = words.decode_tf(tf.constant(ids)).numpy()
    assert [text.decode() for text in decoded] == wanted


def test_many_texts_at_once(words):
    ids = words.encode_tf(tf.constant(["a b", "drop c", ""]))
    assert ids.to_list() == [words.encode(t) for t in ("a b", "drop c", "")]


def test_unknown_words_raise(words):
    with pytest.raises(ValueError, match=r"got \['Drop'\]"):
        words.encode("Drop a")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Drop"):
        words.encode_tf(tf.constant("Drop a"))
    dataset = tf.data.Dataset.from_tensors("Drop a").map(words.encode_tf)
    with pytest.raises(tf.errors.InvalidArgumentError, match="words of the vocabulary"):
        list(dataset)


def test_equality_is_by_words(words):
    assert words == vocabularies.WordVocabulary(toyworld.WORDS)
    assert hash(words) == hash(vocabularies.WordVocabulary(toyworld.WORDS))
    assert words != vocabularies.WordVocabulary(toyworld.WORDS[:-1])
    with pytest.raises(ValueError, match="distinct"):
        vocabularies.WordVocabulary(["a", "a"])
