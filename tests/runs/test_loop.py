"""Parts of the training loop; whole runs are in tests/integration."""

import os
import signal
import threading
import types

import pytest

from hyperx.runs import loop as loop_lib


@pytest.mark.parametrize("name", ["loss", "gradient_norm", "update_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("latest", [None, 4])
def test_what_is_no_number_is_refused_once_saving_is_done(name, value, latest):
    waited = []
    store = types.SimpleNamespace(
        wait=lambda: waited.append(True),
        latest=lambda: latest if waited else pytest.fail("still saving"),
    )
    loop = loop_lib.Loop(
        **dict.fromkeys(("mesh", "log", "eval_period", "evaluate")),
        store=store,
        log_period=1,
    )
    good = {"loss": 1.0, "gradient_norm": 1.0, "update_norm": 1.0}
    kept = "no checkpoint yet" if latest is None else "step 4 is intact"
    with pytest.raises(FloatingPointError, match=f"at step 7, got loss .*{kept}"):
        loop._finish(7, good | {name: value}, (1, 1), None)


def test_sigterm_is_a_wish_within_and_what_it_was_outside():
    before = signal.getsignal(signal.SIGTERM)
    with loop_lib._termination() as terminated:
        assert not terminated.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminated.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_runs_in_other_threads_leave_signals_alone():
    before, errors = signal.getsignal(signal.SIGTERM), []

    def enter():
        try:
            with loop_lib._termination() as terminated:
                assert not terminated.is_set()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert errors == []
    assert signal.getsignal(signal.SIGTERM) is before
