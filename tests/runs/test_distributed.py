"""What joins several processes; what they do together is in tests/integration."""

import signal

import jax
import pytest

from hyperx import cli, sharding
from hyperx.runs import distributed


@pytest.fixture
def environment(monkeypatch):
    """Receives how JAX was asked to join; nothing of a launcher is set."""
    for name in (*distributed.COUNTS, distributed.ON_TPU[0]):
        monkeypatch.delenv(name, raising=False)
    for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID"):
        monkeypatch.delenv(f"JAX_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def joined(environment):
    calls = []
    environment.setattr(
        jax.distributed, "initialize", lambda **given: calls.append(given)
    )
    return calls


def test_a_machine_alone_joins_nothing(joined):
    with distributed.job():
        pass
    assert joined == []


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"TPU_ML_PLATFORM": "JAX"},
    ],
)
def test_launchers_are_noticed_unless_off(environment, joined, variables):
    for name, value in variables.items():
        environment.setenv(name, value)
    with distributed.job("off"):
        assert joined == []
    with distributed.job(heartbeat_timeout=30):
        assert joined == [
            {"cluster_detection_method": None, "heartbeat_timeout_seconds": 30}
        ]


@pytest.mark.parametrize("name", distributed.COUNTS)
def test_a_launcher_of_one_process_is_none(environment, joined, name):
    environment.setenv(name, "1")
    with distributed.job():
        assert joined == []


def test_flags_win_over_variables(environment, joined):
    environment.setenv("JAX_COORDINATOR_ADDRESS", "there:1")
    environment.setenv("JAX_NUM_PROCESSES", "2")
    environment.setenv("JAX_PROCESS_ID", "0")
    with distributed.job(process_id=1):
        assert joined == [
            {
                "coordinator_address": "there:1",
                "num_processes": 2,
                "process_id": 1,
                "cluster_detection_method": "deactivate",
                "heartbeat_timeout_seconds": distributed.HEARTBEAT_TIMEOUT,
            }
        ]


def test_what_is_no_number_and_what_cannot_be_joined_is_said(environment, capsys):
    arguments = ["train", "--gin_file=runs/toyworld.gin"]
    environment.setenv("JAX_NUM_PROCESSES", "two")
    assert cli.main(arguments) == 1
    assert (
        "expected a number in JAX_NUM_PROCESSES, got 'two'" in capsys.readouterr().err
    )
    environment.setenv("JAX_NUM_PROCESSES", "2")
    jax.devices()  # Too late to join others, says JAX.
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert "expected to join the other processes of a job, got: jax.dis" in error
    assert "--distributed=off" in error


@pytest.mark.parametrize("orderly", [False, True])
def test_sigterm_ends_a_process_that_is_alone(environment, joined, orderly):
    environment.setenv("SLURM_NTASKS", "2")
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with distributed.job(orderly=orderly):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_process_agrees_with_itself():
    assert [distributed.agreed(value) for value in (None, 0, 7)] == [None, 0, 7]
    assert distributed.first()


@pytest.mark.parametrize(
    "axes", [dict(data=8), dict(data=2, fsdp=2, model=2), dict(data=1, model=8)]
)
def test_a_process_with_all_devices_holds_all_groups(axes):
    mesh = sharding.make_mesh(**axes)
    assert distributed.share(16, mesh) == list(range(16))


class Shared:
    """A sharding of 8 groups of which a process has two devices far apart."""

    def addressable_devices_indices_map(self, shape):
        assert shape == (8,)
        return {"a": (slice(6, 8),), "b": (slice(2, 4),), "c": (slice(2, 4),)}


def test_a_share_may_have_gaps_and_is_in_the_order_of_the_batch(monkeypatch):
    monkeypatch.setattr(distributed, "NamedSharding", lambda *_: Shared())
    share = distributed.share(8, sharding.make_mesh(data=8))
    assert share == [2, 3, 6, 7]
