"""Sources of text: what was read does not outlive its data set."""

import gc
import weakref

from hyperx.data import sources


class Held:
    """The rows of a split, as read."""

    def __call__(self):
        yield from ({"text": text} for text in ("a", "b"))


def texts(dataset):
    return [row["text"].decode() for row in dataset.as_numpy_iterator()]


def test_what_was_read_is_given_up_and_read_again():
    read = []

    def reader(split):
        rows = Held()
        read.append((split, weakref.ref(rows)))
        return rows

    source = sources.TextSource(
        reader, splits=("train",), columns={"text": sources.TEXT}
    )
    dataset = source.get_dataset("train", shuffle=False)
    assert [split for split, _ in read] == ["train"]
    assert texts(dataset) == ["a", "b"]
    gc.collect()
    assert read[0][1]() is None
    assert texts(dataset) == ["a", "b"]
    assert len(read) == 2
