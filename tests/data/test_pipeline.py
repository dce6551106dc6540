"""From hundreds of seqio tasks to batches: memory, hosts, restarts, mixing rates."""

import functools
import pathlib

import numpy as np
import pytest
import seqio
import tensorflow as tf

from hyperx.data import batches, examples

LENGTHS = {"condition": 4, "inputs": 6, "targets": 3}
TASKS = 520
by_number = seqio.mixing_rate_num_examples
feature = seqio.Feature(seqio.PassThroughVocabulary(10_000, eos_id=1), add_eos=False)


def add(name, number, rows, long=0):
    """A task of rows with three conditions that tell the task's number.

    Inputs are [number, row], and `long` more tokens.
    """

    def dataset(split, shuffle_files, seed=None):
        row = np.arange(rows)
        same = np.full(rows, number)
        columns = {
            "condition": np.stack([same, row % 3], 1),
            "inputs": np.stack([same, row, *[row] * long], 1),
            "targets": np.stack([row + 2], 1),
        }
        columns = {key: value.astype(np.int32) for key, value in columns.items()}
        return tf.data.Dataset.from_tensor_slices(columns)

    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(
            dataset, splits=["train"], num_input_examples={"train": rows}
        ),
        output_features=dict.fromkeys(LENGTHS, feature),
    )


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Tasks of several sizes, and mixtures of them."""
    sizes = {"pipe_a": 10, "pipe_b": 40, "pipe_c": 160}
    for number, (name, rows) in enumerate(sizes.items()):
        add(name, number, rows)
    inner = [("pipe_b", 1.0), ("pipe_c", 3.0)]
    capped = functools.partial(by_number, maximum=100, temperature=2.0)
    mixtures = {
        "pipe_sizes": [(name, by_number) for name in sizes],
        "pipe_capped": [(name, capped) for name in sizes],
        "pipe_inner": inner,
        "pipe_nested": [("pipe_inner", 3.0), ("pipe_a", 0.5), ("pipe_b", 0.5)],
        "pipe_twice_nested": [("pipe_nested", 1.0), ("pipe_c", 1.0)],
    }
    for name, members in mixtures.items():
        seqio.MixtureRegistry.add(name, members)
    yield
    for name in mixtures:
        seqio.MixtureRegistry.remove(name)
    for name in sizes:
        seqio.TaskRegistry.remove(name)


def load(name, **lengths):
    return examples.load(
        name, "train", feature_lengths=LENGTHS | lengths, progress=False
    )


def group(loaded, *, groups=8, rows=2, seed=0, **options):
    return batches.GroupedBatches(
        loaded,
        groups=groups,
        rows=rows,
        feature_lengths=LENGTHS,
        reads="condition",
        seed=seed,
        **options,
    )


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("pipe_a", [1.0]),
        ("pipe_sizes", [10 / 210, 40 / 210, 160 / 210]),
        # The root of 10, 40 and, cut to the maximum, 100.
        ("pipe_capped", np.sqrt([10, 40, 100]) / np.sqrt([10, 40, 100]).sum()),
        ("pipe_inner", [1 / 4, 3 / 4]),
        # Of 4: a has 0.5, b 0.5 + 3/4 of its own mixture, c 3 * 3/4.
        ("pipe_nested", [0.5 / 4, 1.25 / 4, 2.25 / 4]),
        ("pipe_twice_nested", [0.5 / 8, 1.25 / 8, 2.25 / 8 + 1 / 2]),
    ],
)
def test_rates_are_those_of_the_mixture(name, rates):
    np.testing.assert_allclose(load(name).rates, rates)


@pytest.mark.parametrize("name", ["pipe_capped", "pipe_twice_nested"])
def test_tasks_are_drawn_at_their_rates(name):
    loaded = load(name)
    grouped = group(loaded)
    epochs, chunks = 7, grouped.chunks_per_epoch
    drawn = [grouped[step]["condition_tokens"][:, 0] for step in range(chunks)]
    drawn = np.concatenate(drawn)[: epochs * chunks]
    counts = np.bincount(drawn, minlength=3)
    # Within a chunk at every end of an epoch, but for those of an uneven epoch.
    np.testing.assert_allclose(counts, epochs * chunks * loaded.rates, atol=4)


def test_a_rate_below_a_chunk_is_met_over_epochs():
    add("pipe_large", 3, 400)
    members = [("pipe_a", 0.02), ("pipe_large", 9.98)]
    seqio.MixtureRegistry.add("pipe_rare", members)
    loaded = load("pipe_rare")
    grouped = group(loaded, groups=1)
    drawn = [int(grouped[step]["condition_tokens"][0, 0]) for step in range(3000)]
    # 6 of 3,000 chunks; at least one of each epoch's 208 would be 15.
    assert abs(drawn.count(0) - 6) <= 1
    seqio.MixtureRegistry.remove("pipe_rare")
    seqio.TaskRegistry.remove("pipe_large")


def test_seqio_draws_at_the_same_rates():
    loaded = load("pipe_nested")
    dataset = seqio.get_mixture_or_task("pipe_nested").get_dataset(
        LENGTHS, "train", shuffle=False, num_epochs=None, seed=1
    )
    drawn = [int(row["inputs"][0]) for row in dataset.take(4000).as_numpy_iterator()]
    frequencies = np.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(frequencies, loaded.rates, atol=0.03)


def test_two_hosts_together_make_the_batches_of_one():
    whole = group(load("pipe_capped"))
    groups = np.split(np.arange(whole.groups), 2)
    hosts = [group(load("pipe_capped"), share=share) for share in groups]
    for step in range(40):
        parts = [host[step] for host in hosts]
        joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        assert_equal(whole[step], joined)


def test_a_restart_continues_exactly():
    unbroken = list(batches.prefetch(group(load("pipe_nested")), 0, 60))
    restarted = batches.prefetch(group(load("pipe_nested")), 37, 60)
    for expected, batch in zip(unbroken[37:], restarted, strict=True):
        assert_equal(expected, batch)
    other = group(load("pipe_nested"), seed=1)[37]
    assert not np.array_equal(other["encoder_tokens"], unbroken[37]["encoder_tokens"])


def anonymous_memory():
    """MiB that the process itself holds: no file can be read for them again."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def test_tokens_do_not_stay_in_memory():
    add("pipe_long", 0, 20_000, long=1000)
    load("pipe_long", inputs=8)  # warm
    before = anonymous_memory()
    loaded = load("pipe_long", inputs=2000)
    tokens = loaded.features["inputs"].tokens
    assert tokens.nbytes / 2**20 > 75
    assert anonymous_memory() - before < 30
    assert loaded.features["inputs"][19_999][-1] == 19_999
    seqio.TaskRegistry.remove("pipe_long")


@pytest.mark.slow
def test_memory_is_steady_with_hundreds_of_tasks():
    names = [f"pipe_tiny_{number}" for number in range(TASKS)]
    for number, name in enumerate(names):
        add(name, number, 4 + number % 9)
    seqio.MixtureRegistry.add("pipe_many", names, default_rate=by_number)
    loaded = load("pipe_many")
    grouped = group(loaded)
    assert len(loaded.tasks) == TASKS
    seen = set()
    for step, batch in enumerate(batches.prefetch(grouped, 0, 2200)):
        seen |= {*batch["condition_tokens"][:, 0].tolist()}
        if step == 200:
            before = anonymous_memory()
    assert anonymous_memory() - before < 4
    assert seen == set(range(TASKS))
    seqio.MixtureRegistry.remove("pipe_many")
    for name in names:
        seqio.TaskRegistry.remove(name)
