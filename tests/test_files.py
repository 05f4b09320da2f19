"""Atomic files, and descriptions of results."""

import os
import socket
import subprocess
import sys

import pytest

from saev.core.errors import UserError
from saev.core.files import atomic_path, to_json, write_bytes
from saev.core.meta import altered_files, read_meta, write_meta


def test_a_file_whose_writer_fails_keeps_its_old_bytes_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_a_killed_writer_has_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname()
    left, living = (tmp_path / f".a.bin.{host}.{p}.00.tmp" for p in (gone.pid, os.getpid()))
    left.touch()
    living.touch()
    write_bytes(tmp_path / "a.bin", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([living.name, "a.bin"])


def test_a_number_that_is_not_finite_reaches_no_file():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": float("nan")})


def test_an_unwritable_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write"):
        write_bytes(tmp_path / "file" / "a", b"")


def test_meta_tells_altered_and_missing_files(tmp_path):
    write_bytes(tmp_path / "a", b"12")
    write_bytes(tmp_path / "b", b"34")
    write_meta(
        tmp_path, stage="train", name="x", settings={}, inputs={}, summary={}, files=["a", "b"]
    )
    meta, _ = read_meta(tmp_path, "train")
    assert altered_files(tmp_path, meta["files"], deep=True) == []
    (tmp_path / "a").write_bytes(b"99")
    assert altered_files(tmp_path, meta["files"], deep=False) == []
    assert "another SHA-256" in altered_files(tmp_path, meta["files"], deep=True)[0]
    (tmp_path / "b").unlink()
    assert "missing" in altered_files(tmp_path, meta["files"], deep=False)[0]
    with pytest.raises(UserError, match="not the result of the stage 'images'"):
        read_meta(tmp_path, "images")


def test_a_newer_format_is_refused(tmp_path):
    write_meta(tmp_path, stage="train", name="x", settings={}, inputs={}, summary={}, files=[])
    text = (tmp_path / "meta.json").read_text()
    (tmp_path / "meta.json").write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(UserError, match="newer saev"):
        read_meta(tmp_path, "train")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems say it another way")
def test_a_recorded_peak_of_memory_leaves_out_the_process_that_started_the_job():
    large = bytearray(b"x") * 500_000_000
    code = "from saev.core.provenance import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1e6 < int(done.stdout) < len(large) / 4
