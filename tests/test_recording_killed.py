"""Recordings that are killed, stopped or begun anew, and those without any image."""

import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from recording import (
    arguments,
    contents,
    list_images,
    plan,
    record,
    settings,
    spoil,
    write_pictures,
)
from safetensors.numpy import load_file

from saev.activations import __main__ as activations
from saev.activations import loading
from saev.activations.artifact import Activations
from saev.activations.shards import ShardState
from saev.core.errors import UserError


def wait_for(process, condition):
    for _ in range(2000):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A recording of 1,000 images in one shard of four blocks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_pictures(folder / "pics", 1000, size=(64, 64))
    listed = list_images(folder / "pics", folder / "p-1")
    vit = settings(folder, shard_images=1024)
    record(listed, listed / "v-1", vit, range(1))
    return SimpleNamespace(listed=listed, vit=vit, contents=contents(listed / "v-1"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "blocks"),
    [
        (".state/*/pooled.npy", 0),
        (".state/*/block-00001.json", 2),
        (".state/*/block-00003.json", 4),
        ("layer-00.cls/*.npy", 4),
    ],
)
def test_a_job_killed_at_any_instant_and_run_again_gives_the_undisturbed_bytes(
    undisturbed, tmp_path, pattern, blocks
):
    out = tmp_path / "v-1"
    common = arguments(undisturbed.listed, out, undisturbed.vit)
    command = [*(sys.executable, "-m", "saev.activations", "record"), *common, "--shard", "0"]
    process = subprocess.Popen(command)
    while not any(out.glob(pattern)) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not any(out.glob("shards/*")):  # else it was over before the signal came
        assert len(list(out.glob(".state/*/block-*.json"))) >= blocks
    activations.main(["record", *common, "--shard", "0"])
    activations.main(["seal", *common])
    assert contents(out) == undisturbed.contents


def test_finished_blocks_are_taken_up_and_torn_ones_recorded_again(tmp_path, monkeypatch):
    write_pictures(tmp_path / "pics", 700)
    listed = list_images(tmp_path / "pics", tmp_path / "p-1")
    vit = settings(tmp_path, shard_images=768)
    reference = tmp_path / "undisturbed" / "v-1"
    record(listed, reference, vit, range(1))
    out = tmp_path / "torn" / "v-1"
    common = ["record", *arguments(listed, out, vit), "--shard", "0"]

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("saev.activations.shards.ShardState.finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            activations.main(common)
    state = next(p for p in (out / ".state").iterdir() if p.is_dir())
    held = state / "layer-01.patches.npy"
    data = bytearray(held.read_bytes())
    block = 256 * 4 * 32 * 2
    data[128 + block + 5] ^= 1  # in the second of three blocks
    held.write_bytes(data + b"a torn write at the end")
    seen = []
    batches = loading.batches
    monkeypatch.setattr(
        "saev.activations.recording.batches", lambda *a: seen.append(a[1]) or batches(*a)
    )
    activations.main(common)
    activations.main(["seal", *arguments(listed, out, vit)])
    assert seen == [256]
    assert contents(out) == contents(reference)
    assert not (out / ".state").exists()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_block_whose_records_or_statistics_are_damaged_is_recorded_again(
    tmp_path, monkeypatch, ending, cut
):
    write_pictures(tmp_path / "pics", 300)
    listed = list_images(tmp_path / "pics", tmp_path / "p-1")
    vit = settings(tmp_path, shard_images=512)
    reference = tmp_path / "undisturbed" / "v-1"
    record(listed, reference, vit, range(1))
    out = tmp_path / "damaged" / "v-1"
    common = ["record", *arguments(listed, out, vit), "--shard", "0"]

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ShardState, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            activations.main(common)
    (path,) = out.glob(f".state/*/block-00000.{ending}")
    data = path.read_bytes()
    at = data.rindex(b'"width": 36') + 9 if ending == "json" else len(data) - 3
    path.write_bytes(data[:at] if cut else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    activations.main(common)
    activations.main(["seal", *arguments(listed, out, vit)])
    assert contents(out) == contents(reference)


PLACE = ShardState._place_array


def test_a_job_stopped_between_placing_two_arrays_is_taken_up(tmp_path, monkeypatch):
    write_pictures(tmp_path / "pics", 300)
    listed = list_images(tmp_path / "pics", tmp_path / "p-1")
    vit = settings(tmp_path, shard_images=512)
    reference = tmp_path / "undisturbed" / "v-1"
    record(listed, reference, vit, range(1))
    for stop_after in (1, 3):
        for damage in (False, True):
            out = tmp_path / f"{stop_after}{damage}" / "v-1"
            common = ["record", *arguments(listed, out, vit), "--shard", "0"]
            placed = []

            def place(self, stream, placed=placed, limit=stop_after):
                if len(placed) == limit:
                    raise KeyboardInterrupt
                placed.append(stream)
                return PLACE(self, stream)

            with monkeypatch.context() as patched:
                patched.setattr(ShardState, "_place_array", place)
                with pytest.raises(KeyboardInterrupt):
                    activations.main(common)
            if damage:
                path = out / placed[0].name / "shard-00000.npy"
                path.write_bytes(path.read_bytes()[:-9] + b"corrupted")
            activations.main(common)
            activations.main(["seal", *arguments(listed, out, vit)])
            assert contents(out) == contents(reference)


def test_a_shard_without_any_readable_image_is_sealed_as_empty(tmp_path, monkeypatch):
    write_pictures(tmp_path / "pics", 260)
    spoil(tmp_path / "pics", range(256, 260))
    listed = list_images(tmp_path / "pics", tmp_path / "p-1", on_bad_image="skip")
    path = plan(tmp_path / "plan.json", on_bad_image={"p-1": "skip"})
    monkeypatch.setenv("SAEV_PLAN", str(path))
    acts = record(listed, listed / "v-1", settings(tmp_path), range(2))
    assert acts.rows(0, 1000).tolist() == list(range(256))
    rows, values = acts.read(acts.stream(-1, "patches"), 256, 260)
    assert rows.shape == (0,)
    assert values.shape == (0, 4, 32)
    for array in load_file(listed / "v-1" / "stats.safetensors").values():
        assert np.isfinite(array).all()


def test_unsealed_activations_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"meta\.json is missing"):
        Activations(tmp_path)


def test_when_no_image_can_be_read_the_reasons_are_said(tmp_path, monkeypatch):
    (tmp_path / "pics").mkdir()
    for i in range(4):
        (tmp_path / "pics" / f"{i}.png").write_bytes(b"")
    listed = list_images(tmp_path / "pics", tmp_path / "p-1", on_bad_image="skip")
    path = plan(tmp_path / "plan.json", on_bad_image={"p-1": "skip"})
    monkeypatch.setenv("SAEV_PLAN", str(path))
    with pytest.raises(UserError, match=r"none of the 4 images[\s\S]*row 0: the file is empty"):
        record(listed, tmp_path / "v-1", settings(tmp_path), range(1))
