"""Locks: who gets them, who keeps them, and what one who has lost his does."""

import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from trained import ROOT, TOPK, arguments, run, write_plan

from saev.core import locks
from saev.core.errors import UserError
from saev.core.locks import Lock
from saev.core.state import state as state_of
from saev.train.training_state import State

HOLD = """
import sys, time
from saev.core.locks import Lock
Lock(sys.argv[1], "it").acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "lock"


@pytest.fixture
def quick(monkeypatch):
    """Beats and patience of fractions of a second."""
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.6)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.02)


def write(path, host="elsewhere", pid=1, started=None, token="x", touched=None):
    """Put the lock of another process at ``path``, touched at this Unix time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name("another")
    new.write_text(json.dumps({"host": host, "pid": pid, "started": started, "token": token}))
    if touched is not None:
        os.utime(new, (touched, touched))
    new.replace(path)


def dead(path, token="x"):
    """Put the lock of a process of this host that has ended at ``path``."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write(path, socket.gethostname(), gone.pid, token=token)


@contextmanager
def beating(path):
    """A holder on another host, of which nothing but its touches is seen."""
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(path)

    write(path)
    thread = threading.Thread(target=beat)
    thread.start()
    yield
    stop.set()
    thread.join()


def beats(path, seconds=0.5):
    """Whether the lock is touched within this time."""
    before, end = path.stat().st_mtime_ns, time.monotonic() + seconds
    while time.monotonic() < end:
        if path.stat().st_mtime_ns != before:
            return True
        time.sleep(0.01)
    return False


def test_a_lock_is_exclusive_names_its_holder_and_outlives_no_killed_process(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(
            UserError, match=rf"results/ is in use by process {process.pid} on .*{path}"
        ):
            Lock(path, "results/").acquire()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lock = Lock(path, "results/")
    lock.acquire()
    lock.release()
    assert list(path.parent.iterdir()) == []


def test_who_waits_says_so_once_and_learns_that_it_has_waited(path):
    first, said = Lock(path, "results/"), []
    assert first.acquire() is False
    threading.Timer(0.7, first.release).start()
    second = Lock(path, "results/")
    assert second.acquire(wait=True, on_wait=said.append) is True
    (text,) = said
    assert f"results/ is in use by process {os.getpid()} on {socket.gethostname()}" in text
    assert text.endswith("waiting for it to end")
    second.release()


@pytest.mark.parametrize("ahead", [-1000.0, 1000.0, 0.0], ids=["behind", "ahead", "equal"])
def test_a_lock_of_another_host_is_taken_over_when_it_stood_still_whatever_the_clocks_say(
    path, quick, ahead
):
    write(path, touched=time.time() + ahead)
    lock, started, said = Lock(path, "results/"), time.monotonic(), []
    lock.acquire(on_wait=said.append)
    assert time.monotonic() - started > locks.STALE_SECONDS
    assert "process 1 on elsewhere" in said[0]
    lock.require()
    lock.release()
    assert list(path.parent.iterdir()) == []


def test_a_lock_of_another_host_that_beats_is_neither_taken_over_nor_waited_for_unasked(
    path, quick
):
    with beating(path):
        started = time.monotonic()
        with pytest.raises(UserError, match="process 1 on elsewhere"):
            Lock(path, "results/").acquire()
        assert time.monotonic() - started < locks.STALE_SECONDS
        waiter = threading.Thread(
            target=lambda: Lock(path, "results/").acquire(wait=True), daemon=True
        )
        waiter.start()
        waiter.join(3 * locks.STALE_SECONDS)
        assert waiter.is_alive()
    waiter.join(10)
    assert not waiter.is_alive()


def test_a_pause_of_the_one_who_waits_is_not_held_against_the_holder(path, monkeypatch):
    now, sleeps = [0.0], []

    class Enough(Exception):
        pass

    def pause(seconds):
        sleeps.append(seconds)
        now[0] += 10 * locks.STALE_SECONDS
        if len(sleeps) == 5:
            raise Enough

    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", pause)
    write(path)
    with pytest.raises(Enough):
        Lock(path, "results/").acquire(wait=True)


def test_a_process_number_that_is_used_again_does_not_hold_a_lock(path):
    write(path, socket.gethostname(), os.getpid(), started="1")
    Lock(path, "results/").acquire()


@pytest.mark.parametrize("content", ["", '{"host": "x"', "[]", '{"host": "x"}'])
def test_half_a_lock_that_a_crash_has_left_is_taken_over(path, content):
    path.parent.mkdir()
    path.write_text(content)
    lock = Lock(path, "results/")
    assert not lock.held()
    lock.acquire()
    assert Lock(path, "results/").held()
    lock.release()
    assert list(path.parent.iterdir()) == []


def test_a_heartbeat_keeps_its_own_lock_alive_and_not_that_of_a_successor(path, quick):
    lock = Lock(path, "results/")
    lock.acquire()
    assert beats(path)
    write(path, token="successor")
    assert not beats(path)
    lock.release()
    assert json.loads(path.read_text())["token"] == "successor"


@pytest.mark.parametrize("fault", [errno.ESTALE, errno.EIO])
def test_a_heartbeat_outlives_faults_of_the_file_server(path, quick, monkeypatch, fault):
    lock, faults, utime = Lock(path, "results/"), [], os.utime

    def faulty(*given):
        if len(faults) < 3:
            faults.append(given)
            raise OSError(fault, os.strerror(fault))
        utime(*given)

    monkeypatch.setattr(os, "utime", faulty)
    lock.acquire()
    assert beats(path)
    assert len(faults) == 3
    lock.release()


def test_a_lock_that_is_acquired_again_beats_again(path, quick):
    lock = Lock(path, "results/")
    for _ in range(2):
        lock.acquire()
        assert beats(path)
        with pytest.raises(UserError, match=f"in use by process {os.getpid()} "):
            lock.acquire()
        lock.release()
        assert not path.exists()


def test_only_one_of_many_takes_over_the_lock_of_a_dead_process(path, monkeypatch):
    def slowed(call):
        def slow(*given, **more):
            time.sleep(random.random() * 0.01)
            try:
                return call(*given, **more)
            finally:
                time.sleep(random.random() * 0.01)

        return slow

    for name in ("link", "rename", "replace"):
        monkeypatch.setattr(os, name, slowed(getattr(os, name)))
    monkeypatch.setattr(locks, "alive", slowed(locks.alive))
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.001)
    inside, faults = [], []

    def work():
        lock = Lock(path, "results/")
        try:
            lock.acquire(wait=True)
            inside.append(lock)
            time.sleep(0.01)
            if inside != [lock]:
                faults.append("two hold it")
            inside.remove(lock)
            lock.release()
        except Exception as error:
            faults.append(repr(error))

    for _ in range(10):
        dead(path)
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    assert list(path.parent.iterdir()) == []


def test_one_who_died_while_taking_over_is_taken_over_in_turn(path):
    dead(path, token="first")
    dead(path.with_name("lock.first"), token="second")
    dead(path.with_name("lock.first.second"), token="third")
    lock = Lock(path, "results/")
    lock.acquire()
    lock.require()
    assert list(path.parent.iterdir()) == [path]
    lock.release()


def test_a_lock_that_was_got_by_a_call_that_failed_is_held(path, monkeypatch):
    link = os.link

    def link_then_fail(*given):
        link(*given)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "link", link_then_fail)
    lock = Lock(path, "results/")
    assert lock.acquire() is False
    lock.require()
    lock.release()
    assert list(path.parent.iterdir()) == []


def test_one_who_stood_still_while_taking_over_does_not_end_the_one_who_came_after(
    path, monkeypatch
):
    dead(path, token="first")
    replace, claim = type(path).replace, path.with_name("lock.first")

    def replace_late(source, target):
        monkeypatch.undo()
        write(claim, socket.gethostname(), os.getpid(), token="second")
        return replace(source, target)

    monkeypatch.setattr(type(path), "replace", replace_late)
    with pytest.raises(UserError, match=f"process {os.getpid()} "):
        Lock(path, "results/").acquire()
    assert json.loads(path.read_text())["token"] == "second"


def test_one_who_has_lost_a_lock_is_told_by_whom_and_leaves_it_alone(path):
    lock = Lock(path, "results/")
    lock.acquire()
    lock.require()
    write(path, token="successor")
    with pytest.raises(
        UserError, match=r"results/ is in use by process 1 on elsewhere .*stops and writes nothing"
    ):
        lock.require()
    lock.release()
    assert json.loads(path.read_text())["token"] == "successor"
    path.unlink()
    with pytest.raises(UserError, match=r"results/ is no longer locked .*stops and writes nothing"):
        lock.require()


def test_a_lock_of_another_host_counts_for_a_day_where_nobody_can_wait_for_its_heartbeat(path):
    for hours, held in ((-5, True), (1, True), (23, True), (25, False)):
        write(path, touched=time.time() - hours * 3600)
        assert Lock(path, "results/").held() is held
    assert path.exists()


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't write .*file: Not a directory"):
        Lock(tmp_path / "file" / "lock", "results/").acquire()


def test_the_state_of_another_process_is_not_removed(tmp_path):
    with state_of(tmp_path, "work") as held:
        held.discard()
        assert not held.folder.exists()
        held.folder.mkdir()
        write(held.lock.path, token="successor")
        held.discard()
        assert held.folder.exists()


def test_a_state_of_a_training_that_was_taken_over_gets_no_line_and_no_weights(tmp_path):
    with state_of(tmp_path, "work") as held:
        state = State(held, "cpu")
        state.load()
        state.append({"step": 1})
        write(held.lock.path, token="successor")
        for action in (lambda: state.append({"step": 2}), lambda: state.save({}, 2)):
            with pytest.raises(UserError, match="process 1 on elsewhere"):
                action()
        assert state.lines() == [{"step": 1}]
        assert list(held.folder.iterdir()) == [state.curve]


@pytest.mark.slow
def test_a_training_that_was_taken_over_writes_nothing_more(
    activations, truth, tmp_path, monkeypatch
):
    code = (
        "import socket, sys, time\n"
        "socket.gethostname = lambda: 'elsewhere'\n"
        "from saev.core import frame\n"
        "from saev.train import __main__ as train\n"
        "from saev.train import fit\n"
        "step = fit.Trainer.train\n"
        "fit.Trainer.train = lambda self, x: (time.sleep(0.3), step(self, x))[1]\n"
        "frame.run(train.main)\n"
    )
    out = tmp_path / "s"
    first = subprocess.Popen(
        [sys.executable, "-c", code, *arguments(TOPK, activations, out)],
        cwd=ROOT,
        env={**os.environ, **write_plan(tmp_path / "plan.json", state_seconds=0)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(out.glob(".state/*/state.safetensors")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.01)
    time.sleep(0.1)  # it is in the pause before its next step
    first.send_signal(signal.SIGSTOP)
    (path,) = out.glob(".state/*.lock")
    successor = Lock(path, "the state of s")
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.5)
    assert successor.acquire(wait=True)

    def written():
        return {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    before = written()
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=30)[1]
    assert first.returncode == 1
    assert (
        f"the state of {out} is in use by process {os.getpid()} on {socket.gethostname()}" in said
    )
    assert "This process stops and writes nothing more" in said
    assert written() == before
    successor.release()
    assert run(TOPK, activations, out) == truth["topk"]


def test_a_finished_training_that_was_taken_over_leaves_its_results_where_they_were(
    activations, tmp_path, monkeypatch
):
    from saev.train import finished

    out, original = tmp_path / "s", finished.write

    def write_then_lose(learner, *given, **more):
        original(learner, *given, **more)
        write(learner.state.held.lock.path, token="successor")

    monkeypatch.setattr(finished, "write", write_then_lose)
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        run(TOPK, activations, out)
    assert [p.name for p in out.iterdir()] == [".state"]
