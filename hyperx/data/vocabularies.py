"""The three vocabularies: bytes, toyworld's words, and SentencePiece models."""

import functools
import os
from collections.abc import Sequence

import sentencepiece
import seqio
import tensorflow as tf

from hyperx.data.toyworld import world as toyworld

# Of the public T5 checkpoints.
T5 = "gs://t5-data/vocabs/cc_all.32000/sentencepiece.model"
SENTINELS = 100  # T5's
BYTE_EXTRA_IDS = 125  # ByT5's: 384 ids with bytes, pad, EOS and UNK


@functools.cache
def get(name: str) -> seqio.Vocabulary:
    """Returns the vocabulary that a run or a saved model names.

    Args:
      name: "bytes", "toyworld", or the path of a SentencePiece model (a local file,
        or a URL such as `gs://...`, which is opened at first use).

    Raises:
      FileNotFoundError: `name` is neither a known name nor an existing local file.
    """
    if name == "bytes":
        return seqio.ByteVocabulary(BYTE_EXTRA_IDS)
    if name == "toyworld":
        return WordVocabulary(toyworld.WORDS)
    if "://" not in name and not os.path.isfile(name):
        raise FileNotFoundError(
            "expected the vocabulary 'bytes', 'toyworld' or the path of a "
            f"SentencePiece model, got {name!r}, which is not a file"
        )
    return SentencePieceVocabulary(name)


def same(name: str, other: str) -> bool:
    """Whether the ids of two vocabularies mean the same, wherever their files lie.

    Args:
      name: of one; see `get`.
      other: of the other one.

    Raises:
      FileNotFoundError: see `get`.
    """
    left, right = get(name), get(other)
    if left == right:
        return True
    both = all(isinstance(v, SentencePieceVocabulary) for v in (left, right))
    return both and left.pieces == right.pieces


class SentencePieceVocabulary(seqio.SentencePieceVocabulary):
    """A SentencePiece model with T5's sentinels: its own, or else added to it.

    `cc_all.32000.100extra` has them, `cc_all.32000` and the `spiece.model` of Hugging
    Face have not: all three make the same 32,100 ids. `<extra_id_0>` is the last one.

    Args:
      file: a path or a URL, opened at first use.
    """

    def __init__(self, file: str):
        super().__init__(file, extra_ids=SENTINELS)

    @property
    def extra_ids(self) -> int:
        return SENTINELS

    @property
    def pieces(self) -> list[str]:
        """The texts of all ids; sentinels with no mark of a space before them."""
        tokenizer = self.tokenizer
        texts = map(tokenizer.IdToPiece, range(tokenizer.GetPieceSize()))
        return [t.lstrip("▁") if "<extra_id_" in t else t for t in texts]

    def __eq__(self, other: object) -> bool:
        file = self.sentencepiece_model_file
        return (
            isinstance(other, SentencePieceVocabulary)
            and other.sentencepiece_model_file == file
        )

    def __hash__(self) -> int:
        return hash(self.sentencepiece_model_file)

    def _model_context(self):
        if self._model is None and _has_sentinels(self.sentencepiece_model_file):
            self._extra_ids = 0  # To add.
        return super()._model_context()


def _has_sentinels(file: str) -> bool:
    with tf.io.gfile.GFile(file, "rb") as opened:
        content = opened.read()
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise ValueError(
            f"expected a SentencePiece model, got {file}: {error}"
        ) from error
    return processor.IdToPiece(processor.GetPieceSize() - 1).endswith("<extra_id_0>")


class WordVocabulary(seqio.Vocabulary):
    """Space-separated words; pad is 0, EOS is 1, the words follow in their order.

    There is no unknown word: encoding one raises. Decoding drops pad and EOS and shows
    an id outside the vocabulary (a model's table may be larger) as `<?>`.
    """

    OUTSIDE = "<?>"

    def __init__(self, words: Sequence[str]):
        super().__init__()
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(self.words, start=2)}
        if len(self._ids) != len(self.words):
            raise ValueError(f"expected distinct words, got {self.words}")

    @property
    def bos_id(self) -> None:
        return None

    @property
    def eos_id(self) -> int:
        return 1

    @property
    def unk_id(self) -> None:
        return None

    @property
    def _base_vocab_size(self) -> int:
        return 2 + len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordVocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"WordVocabulary(size={self.vocab_size})"

    def _encode(self, s: str) -> list[int]:
        unknown = [word for word in s.split() if word not in self._ids]
        if unknown:
            raise ValueError(f"expected words of the vocabulary, got {unknown}")
        return [self._ids[word] for word in s.split()]

    def _decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._surface(i) for i in ids if i not in (0, 1))

    def _surface(self, i: int) -> str:
        return self.words[i - 2] if 2 <= i < self.vocab_size else self.OUTSIDE

    @functools.cached_property
    def _table(self) -> tf.lookup.StaticHashTable:
        # Made outside any tf.data function that happens to be traced at first use.
        with tf.init_scope():
            items = tf.lookup.KeyValueTensorInitializer(
                list(self._ids), list(self._ids.values()), tf.string, tf.int32
            )
            return tf.lookup.StaticHashTable(items, default_value=-1)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
        """[...] strings to [..., None] int32; ragged unless `s` is a scalar."""
        return tf.ragged.map_flat_values(self._lookup, tf.strings.split(s))

    def _lookup(self, words: tf.Tensor) -> tf.Tensor:
        ids = self._table.lookup(words)
        unknown = tf.boolean_mask(words, ids < 0)
        tf.debugging.Assert(
            tf.size(unknown) == 0, ["expected words of the vocabulary, got", unknown]
        )
        return ids

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        """[..., T] ids to [...] strings."""
        surface = tf.constant(["", "", *self.words, self.OUTSIDE])
        outside = (ids < 0) | (ids >= self.vocab_size)
        words = tf.gather(surface, tf.where(outside, self.vocab_size, ids))
        text = tf.strings.reduce_join(words, axis=-1, separator=" ")
        return tf.strings.strip(tf.strings.regex_replace(text, " +", " "))
