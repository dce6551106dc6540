"""Names to vocabularies, and the word vocabulary in Python and in TensorFlow."""

import io

import pytest
import sentencepiece
import seqio
import tensorflow as tf

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


def test_sentencepiece_model_has_sentinels(tmp_path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a small text", "another text"] * 20),
        model_writer=model,
        vocab_size=24,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
    )
    path = tmp_path / "spm.model"
    path.write_bytes(model.getvalue())
    vocabulary = vocabularies.get(str(path))
    assert vocabulary.extra_ids == 100
    assert vocabulary.decode(vocabulary.encode("a small text")) == "a small text"


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
