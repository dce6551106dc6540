"""A model directory may lie in an object store: here one that is kept in memory.

Checkpoints are TensorStore's to write there, TensorBoard's files TensorFlow's.
"""

import fsspec
import pytest
from etils import epath
from etils.epath import gpath
from fsspec.implementations import memory

from hyperx.checkpoints import description
from hyperx.checkpoints.store import Store
from hyperx.runs import configuration, metrics_log, models
from hyperx.runs.evaluation import findings as findings_lib

SETTINGS = {"split": "test"}


class Buckets(memory.MemoryFileSystem):
    """Answers for gs://."""

    protocol = ("gs", "gcs")
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))


@pytest.fixture
def model_dir(monkeypatch):
    """The address of a directory that does not exist yet."""
    for name in Buckets.protocol:
        fsspec.register_implementation(name, Buckets, clobber=True)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    yield "gs://bucket/folder/model"
    Buckets.store.clear()


def files(model_dir):
    return sorted(path.name for path in epath.Path(model_dir).iterdir())


def test_descriptions(model_dir):
    description.write(model_dir, {"model": {"width": 8}, "vocabulary": None})
    assert description.read(model_dir)["model"] == {"width": 8}
    with pytest.raises(ValueError, match=r"gs://bucket/folder/model/model.json .*: ex"):
        description.write(model_dir, {"model": {"width": 9}, "vocabulary": None})
    assert files(model_dir) == ["model.json"]


def test_configurations(model_dir):
    configuration.parse(["methods/hint.gin"], ["ADAPTER_SIZE = 24"])
    configuration.write(model_dir)
    configuration.parse([], [], model_dir=model_dir)
    assert configuration.macro("ADAPTER_SIZE") == 24
    assert configuration.macro("MODEL_DIR") == model_dir
    assert files(model_dir) == ["config.gin", "operative_config.gin"]
    with pytest.raises(configuration.ConfigurationError, match="holds no config.gin"):
        configuration.parse([], [], model_dir="gs://bucket/other")


def test_metrics(model_dir):
    with metrics_log.MetricsLog(model_dir, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.write(step, "train", {"loss": step / 2})
    with metrics_log.MetricsLog(
        model_dir, resumed_step=2, tensorboard=False
    ) as resumed:
        resumed.write(2, "train", {"loss": 7})
    found = [(r["step"], r["values"]["loss"]) for r in metrics_log.read(model_dir)]
    assert found == [(1, 0.5), (2, 7.0)]


def test_findings_of_an_evaluation(model_dir):
    unit = findings_lib.Unit(10, "task", "matched")
    kept = findings_lib.Kept(epath.Path(model_dir) / "eval", "test")
    assert kept.read(unit, SETTINGS) is None
    found = findings_lib.Finding(
        unit=unit, metrics={"exact_match": 50.0}, data={}, seconds=1.0
    )
    kept.write(found, SETTINGS)
    assert kept.read(unit, SETTINGS) == found
    assert kept.read(unit, {"split": "train"}) is None


def test_checkpoints_are_looked_for(model_dir):
    store = Store(epath.Path(model_dir) / models.CHECKPOINTS)
    assert str(store.directory) == "gs://bucket/folder/model/checkpoints"
    assert store.latest() is None
    for step, file in ((10, "commit_success.txt"), (20, "manifest")):  # 20 is cut short
        (store.directory / str(step)).mkdir(parents=True)
        (store.directory / str(step) / file).write_text("")
    assert store.steps() == [10]
    with pytest.raises(FileNotFoundError, match="expected a trained or imported model"):
        models.load(model_dir)
