"""wandb is a mirror: what is in train.jsonl is in it, and its faults cost nothing."""

import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from project import Project

from saev.train.sink import Sink

LINE = {"step": 5, "loss": 0.5, "nmse": 0.25, "eval_nmse": 0.375, "eval_n": 7, "aux": None}


def records(path: Path):
    """Records of a .wandb file: a log of LevelDB's form after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(folder: Path) -> list[dict]:
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
                row["step"] = record.history.step.num
                found.append(row)
    return found


def test_a_line_is_read_back_from_the_file(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    sink = Sink("offline", "birds", "0123456789abcdef", "cls-1", {"settings": {"k": 3}})
    sink.log(LINE, torch.tensor([0, 5000, 10_000_000]))
    picture = tmp_path / "curves.png"
    from PIL import Image

    Image.new("RGB", (4, 4)).save(picture)
    sink.finish(picture)
    assert "warning" not in said()
    # wandb's service writes on for a moment after it has said that it is done.
    deadline = time.monotonic() + 30
    while not history(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    (first,) = history(tmp_path)
    assert {key: first[key] for key in ("loss", "nmse", "eval_nmse", "eval_n")} == {
        "loss": 0.5,
        "nmse": 0.25,
        "eval_nmse": 0.375,
        "eval_n": 7,
    }
    assert first["step"] == 5
    assert "aux" not in first
    assert sum(first["thousands_of_vectors_since_fired/values"]) == 3
    assert any("curves" in key for key in first)
    (path,) = tmp_path.glob("wandb/offline-run-*/run-0123456789abcdef.wandb")
    config = next(r.run.config for r in records(path) if r.WhichOneof("record_type") == "run")
    values = {item.key: json.loads(item.value_json) for item in config.update}
    assert values["settings"] == {"k": 3}


def test_a_training_that_goes_on_writes_into_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for step in (5, 10):
        sink = Sink("offline", "birds", "feedbeeffeedbeef", "cls-1", {})
        sink.log({"step": step, "loss": 1.0 / step}, torch.zeros(2))
        sink._run.finish()  # as a stopped process ends
        time.sleep(1.1)  # folders are called by the second
    paths = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    ids = [r.run.run_id for p in paths for r in records(p) if r.WhichOneof("record_type") == "run"]
    assert ids == ["feedbeeffeedbeef"] * 2
    assert [row["step"] for row in history(tmp_path)] == [5, 10]


@pytest.mark.parametrize("fault", ["init", "log", "finish"])
def test_a_fault_is_a_warning_and_then_nothing(tmp_path, monkeypatch, said, fault):
    import wandb

    class Broken:
        def log(self, *a, **k):
            if fault == "log":
                raise OSError(28, "No space left on device")

        def finish(self):
            raise RuntimeError("the service is gone")

    def init(**settings):
        if fault == "init":
            raise wandb.errors.CommError("no route to host")
        return Broken()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "Image", lambda path: path)
    sink = Sink("online", "p", "id", "name", {})
    sink.log(LINE, torch.zeros(3))
    sink.log(LINE, torch.zeros(3))
    sink.finish(tmp_path / "curves.png")
    text = said()
    assert text.count("warning: wandb can't") == (2 if fault == "init" else 1)
    assert "train.jsonl" in text


def test_a_run_that_cannot_be_sent_is_kept_offline(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    sink = Sink("online", "birds", "0123456789abcdef", "cls-1", {})
    sink.log(LINE, torch.zeros(3))
    sink._run.finish()
    text = said()
    assert "can't start online" in text
    assert "keeping it offline" in text
    end = time.monotonic() + 20
    while not history(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)  # another process of wandb writes it
    assert [row["loss"] for row in history(tmp_path)] == [0.5]


def test_a_service_that_hangs_at_the_end_is_left_alone(tmp_path, monkeypatch, said):
    import threading

    import wandb

    class Hanging:
        def log(self, *a, **k):
            threading.Event().wait(30)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb, "init", lambda **k: Hanging())
    monkeypatch.setattr(wandb, "Image", lambda path: path)
    Sink("online", "p", "id", "name", {}, patience=0.2).finish(tmp_path / "curves.png")
    assert "left alone" in said()


def test_disabled_imports_nothing_of_wandb():
    code = (
        "import sys; from saev.train.sink import Sink; import torch; "
        "s = Sink('disabled', 'p', 'i', 'n', {}); s.log({'step': 1}, torch.zeros(1)); "
        "print('wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_a_training_of_the_workflow_is_mirrored_and_wandb_changes_no_byte(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    project = Project(folder)
    settings = project.settings()
    settings["compute"]["wandb"] = "offline"
    project.configure(settings)
    assert project.planned() == {}
    project.snakemake("train", "--forcerun", "train_sae")
    assert project.results() == built.results()
    for sae in (folder / "results").glob("pets-*/tiny-*/cls-*"):
        lines = [json.loads(line) for line in (sae / "train.jsonl").read_text().splitlines()]
        mirrored = [row for row in history(folder) if "loss" in row]
        for line in lines:
            assert any(
                row["step"] == line["step"] and row["loss"] == line["loss"] for row in mirrored
            )
    assert yaml.safe_load((folder / "config.yaml").read_text())["compute"]["wandb"] == "offline"
