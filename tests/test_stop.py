"""A program that is asked to end does so, whatever its libraries make of the exit."""

import signal
import subprocess
import sys
import time

import pytest
from project import ROOT
from trained import TOPK, run

from saev.core import stop
from saev.core.errors import ENDED
from saev.train import fit
from saev.workflow import failures

PROGRAM = '''
import ctypes, threading, time
from saev.core import frame, stop

def wait():
    print("began", flush=True)
    time.sleep(100)

def call(function):
    """As Numba's compiler calls back."""
    ctypes.CFUNCTYPE(None)(function)()

def main(arguments):
    what = arguments[-1]
    stop.GRACE_SECONDS = 20 if what == "sleeps" else 1
    if what == "hangs at its end":
        threading.Thread(target=time.sleep, args=(100,)).start()
    if what == "takes its time between steps":
        with stop.between_steps() as asked:
            print("began", flush=True)
            while not asked():
                time.sleep(0.01)
            time.sleep(2)
            print("saved", flush=True)
        time.sleep(100)
    if what == "drops the exit, then takes its time":
        call(wait)
        with stop.between_steps() as asked:
            time.sleep(2)
            print("saved", asked(), flush=True)
    if what == "drops the exit":
        call(wait)
    wait()

frame.run(main)
'''


def asked_to_end(what, log, number=signal.SIGTERM):
    """Exit status, seconds and output of a program that is asked to end once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--log", str(log), what],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "began\n"
    process.send_signal(number)
    began = time.monotonic()
    try:
        said, complaints = process.communicate(timeout=30)
    finally:
        process.kill()
    assert complaints == ""
    return process.returncode, time.monotonic() - began, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_program_ends_at_once_with_the_number_of_the_signal(number, tmp_path):
    status, seconds, _ = asked_to_end("sleeps", tmp_path / "log", number)
    assert status == 128 + number
    assert seconds < stop.GRACE_SECONDS / 2
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert 1 < failures.of_log(tmp_path / "log").ended_at < 1000
    assert ENDED in line


@pytest.mark.parametrize("what", ["drops the exit", "hangs at its end"])
def test_one_that_stays_is_ended_and_its_log_shows_what_it_did(what, tmp_path):
    status, _, _ = asked_to_end(what, tmp_path / "log")
    assert status == 1
    assert "Timeout (0:00:01)!" in (tmp_path / "log").read_text()


def test_a_state_may_take_its_time_to_be_saved(tmp_path):
    status, _, said = asked_to_end("takes its time between steps", tmp_path / "log")
    assert (status, said) == (1, "saved\n")


def test_a_request_that_a_library_dropped_is_known_to_the_next_steps(tmp_path):
    status, _, said = asked_to_end("drops the exit, then takes its time", tmp_path / "log")
    assert (status, said) == (1, f"saved {signal.SIGTERM}\nbegan\n")


def test_under_nohup_a_closed_terminal_stops_nothing():
    assert signal.SIGHUP in stop.ends()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stop.ends()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_call_in_a_program_of_others_goes_on_after_one_that_was_stopped(
    activations, tmp_path, monkeypatch
):
    original = fit.Trainer.train

    def stop_at_five(self, x):
        if self.step == 4:
            signal.raise_signal(signal.SIGTERM)
        return original(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(fit.Trainer, "train", stop_at_five)
        with pytest.raises(stop.Stopped):
            run(TOPK, activations, tmp_path / "s")
    run(TOPK, activations, tmp_path / "s")
