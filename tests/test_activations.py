"""Recording, sealing and reading activations: values, bad images, bytes."""

import errno
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
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

from saev.activations import __main__ as activations
from saev.activations import forward
from saev.activations.artifact import Activations, Stream, to_float32
from saev.activations.moments import CHUNK, Moments
from saev.activations.shards import ShardState
from saev.activations.towers.tower import load_tower
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_file
from saev.images.artifact import Images
from saev.images.decode import open_rgb
from saev.settings.vit import VitSettings
from saev.tools.check import check

N = 600
ABSENT = (0, 3, 255, 256, 599, *range(300, 340))


@pytest.fixture(scope="module")
def skipped(tmp_path_factory):
    """A recording of 600 images in three shards, of which 45 can't be read."""
    folder = tmp_path_factory.mktemp("skipped")
    write_pictures(folder / "pics", N)
    spoil(folder / "pics", ABSENT)
    listed = list_images(folder / "pics", folder / "p-1", on_bad_image="skip")
    path = plan(folder / "plan.json", on_bad_image={"p-1": "skip"}, device="cpu", workers=2)
    os.environ["SAEV_PLAN"] = str(path)
    vit = settings(folder)
    try:
        acts = record(listed, listed / "v-1", vit, range(3))
    finally:
        del os.environ["SAEV_PLAN"]
    return SimpleNamespace(folder=folder, listed=listed, vit=vit, acts=acts)


PRESENT = np.setdiff1d(np.arange(N), ABSENT)


@pytest.fixture(scope="module")
def expected(skipped):
    """Activations of each image, opened and run by itself beside seven copies: by stream."""
    tower = load_tower(VitSettings.model_validate_json(json.dumps(skipped.vit)))
    images = Images(skipped.listed)
    found = {s.name: {} for s in tower.streams}
    for entry in images.read(0, N):
        if entry.row in ABSENT:
            continue
        pixels = tower.geometry.pixels(open_rgb(images.source.read(entry)))
        outputs = tower(torch.from_numpy(np.stack([pixels] * 8)))
        for name, values in outputs.items():
            found[name][entry.row] = values[0].half().numpy()
    return found


def test_every_row_holds_the_activations_of_its_own_image(skipped, expected):
    for stream in skipped.acts.streams.values():
        rows, values = skipped.acts.read(stream, 0, N)
        assert rows.tolist() == PRESENT.tolist()
        own = np.stack([expected[stream.name][row] for row in rows]).reshape(values.shape)
        assert np.array_equal(values, own)
        assert len(np.unique(values.reshape(len(values), -1), axis=0)) == len(values)


@examples(max_examples=80)
@given(st.integers(0, N + 50), st.integers(0, N + 50), st.sampled_from(["cls", "patches"]))
def test_any_range_across_shards_reads_its_present_rows(skipped, start, stop, tokens):
    stream = skipped.acts.stream(-1, tokens)
    rows, values = skipped.acts.read(stream, start, stop)
    wanted = np.array([row for row in PRESENT if start <= row < stop], np.int64)
    assert np.array_equal(rows, wanted)
    assert np.array_equal(skipped.acts.rows(start, stop), wanted)
    assert values.shape == (len(wanted), 4 if tokens == "patches" else 1, 32)
    everything = skipped.acts.read(stream, 0, N)[1]
    assert np.array_equal(values, everything[np.isin(PRESENT, wanted)])


@examples(max_examples=80)
@given(st.lists(st.integers(0, len(PRESENT) - 1), max_size=20))
def test_rows_can_be_taken_in_any_order_and_repeatedly(skipped, places):
    stream = skipped.acts.stream(0, "patches")
    taken = skipped.acts.take(stream, PRESENT[places])
    assert np.array_equal(taken, skipped.acts.read(stream, 0, N)[1][places])


@pytest.mark.parametrize("row", [0, 599, N, 5000, -1])
def test_taking_an_absent_row_is_refused(skipped, row):
    with pytest.raises(UserError, match=f"no activations of row {row}"):
        skipped.acts.take(skipped.acts.stream(None, "pooled"), np.array([1, row]))


def test_records_tell_size_crop_digest_and_reason_of_every_image(skipped):
    from saev.core.files import sha256_bytes

    table = pq.read_table(skipped.listed / "v-1" / "images.parquet")
    records = table.to_pylist()
    assert [r["row"] for r in records] == list(range(N))
    assert [r["row"] for r in records if r["skipped"]] == sorted(ABSENT)
    images = Images(skipped.listed)
    assert records[1]["sha256"] == sha256_bytes(images.source.read(images.read(1, 2)[0]))
    assert (records[1]["width"], records[1]["height"]) == (36, 33)
    box = [records[1][f"crop_{side}"] for side in ("left", "top", "right", "bottom")]
    # 36 × 33 becomes 34 × 32, of which columns 1 to 33 are kept.
    assert box == pytest.approx([36 / 34, 0, 36 * 33 / 34, 33])
    reasons = [records[row]["skipped"] for row in ABSENT[:4]]
    for reason, part in zip(
        reasons, ("empty", "not a picture", "damaged PNG", "DICOM"), strict=True
    ):
        assert part in reason
    assert records[0]["width"] is None
    assert skipped.acts.records(250, 300).column("row").to_pylist() == list(range(250, 300))
    assert skipped.acts.records(550, 900).num_rows == 50
    assert [r["row"] for r in skipped.acts.take_records(np.array([511, 2, 2]))] == [511, 2, 2]
    summary = skipped.acts.meta["summary"]
    assert (summary["n_images"], summary["n_rows"], summary["n_skipped"]) == (N, 555, 45)


def test_statistics_equal_numpys_over_all_stored_vectors(skipped):
    for stream in skipped.acts.streams.values():
        vectors = skipped.acts.float32(skipped.acts.read(stream, 0, N)[1]).reshape(-1, stream.d)
        vectors = vectors.astype(np.float64)
        stats = skipped.acts.stats(stream)
        for name in ("mean", "std", "min", "max"):
            assert np.allclose(stats[name], getattr(vectors, name)(axis=0), rtol=1e-9, atol=1e-12)
        figures = skipped.acts.meta["summary"]["streams"][stream.name]
        assert figures["mean_norm"] == pytest.approx(np.linalg.norm(vectors, axis=1).mean())
        variance = vectors.var(axis=0)
        share = variance.max() / variance.sum()
        assert figures["top_dimension_variance_share"] == pytest.approx(share)


def test_streams_are_found_by_layer_from_either_end_and_others_refused(skipped):
    assert skipped.acts.stream(-1, "cls") == Stream("layer-01.cls", 32, 1, "cls", 1)
    assert skipped.acts.stream(-2, "patches").name == "layer-00.patches"
    assert skipped.acts.stream(None, "pooled").d == 16
    with pytest.raises(UserError, match=r"no cls of layer 7 .*it holds: layer-00\.cls"):
        skipped.acts.stream(7, "cls")


def test_workers_threads_and_shards_change_no_value(skipped, tmp_path, monkeypatch):
    reference = contents(skipped.listed / "v-1")
    for workers, threads in ((0, 1), (1, 2), (4, 2)):
        path = plan(tmp_path / "plan.json", on_bad_image={"p-1": "skip"}, workers=workers)
        monkeypatch.setenv("SAEV_PLAN", str(path))
        out = tmp_path / f"{workers}" / "v-1"
        record(skipped.listed, out, skipped.vit, range(3), threads)
        assert contents(out) == reference
    record(skipped.listed, tmp_path / "one", skipped.vit | {"shard_images": 1024}, range(1))
    other = Activations(tmp_path / "one")
    for stream in other.streams.values():
        ours = skipped.acts.read(stream, 0, N)
        assert all(
            np.array_equal(a, b) for a, b in zip(other.read(stream, 0, N), ours, strict=True)
        )
    statistics = (tmp_path / "one" / "stats.safetensors").read_bytes()
    assert statistics == reference["stats.safetensors"]


def test_the_digest_of_an_array_is_its_files_with_and_without_skipped_images(skipped, tmp_path):
    write_pictures(tmp_path / "pics", 300)
    listed = list_images(tmp_path / "pics", tmp_path / "p-1")
    record(listed, listed / "v-1", settings(tmp_path), range(2))
    for out in (listed / "v-1", skipped.listed / "v-1"):
        files = [e for path in out.glob("shards/*.json") for e in read_json(path)["files"]]
        arrays = [entry for entry in files if entry["name"].endswith(".npy")]
        assert arrays
        for entry in arrays:
            assert sha256_file(out / entry["name"]) == entry["sha256"]


def test_a_block_that_cannot_be_written_stops_the_recording_and_the_next_try_goes_on(
    skipped, tmp_path, monkeypatch
):
    out = tmp_path / "v-1"
    common = ["record", *arguments(skipped.listed, out, skipped.vit | {"shard_images": 1024})]
    append, calls = ShardState.append, []

    def full(self, *block):
        calls.append(len(self.blocks))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        return append(self, *block)

    path = plan(tmp_path / "plan.json", on_bad_image={"p-1": "skip"})
    monkeypatch.setenv("SAEV_PLAN", str(path))
    monkeypatch.setattr(ShardState, "append", full)
    with pytest.raises(OSError, match="No space left"):
        activations.main([*common, "--shard", "0"])
    activations.main([*common, "--shard", "0"])
    assert calls == [0, 1, 1, 2]
    activations.main(["seal", *common[1:]])
    statistics = (skipped.listed / "v-1" / "stats.safetensors").read_bytes()
    assert (out / "stats.safetensors").read_bytes() == statistics


def test_all_bad_images_of_a_shard_are_listed_with_the_way_to_skip_them(skipped, tmp_path):
    common = arguments(skipped.listed, tmp_path / "v-1", skipped.vit)
    with pytest.raises(UserError) as caught:
        activations.main(["record", *common, "--shard", "1"])
    message = str(caught.value)
    for row in ABSENT:
        assert (f"(row {row})" in message) == (256 <= row < 512)
    assert "41 of the images 256 to 511" in message
    assert "images.p.on_bad_image to skip" in message
    assert not list((tmp_path / "v-1").glob("shards/*"))


def test_an_image_that_changed_since_it_was_listed_is_bad(tmp_path):
    write_pictures(tmp_path / "pics", 3)
    listed = list_images(tmp_path / "pics", tmp_path / "p-1")
    (tmp_path / "pics" / "a" / "0000.png").write_bytes(b"other")
    (tmp_path / "pics" / "b" / "0001.png").unlink()
    common = arguments(listed, tmp_path / "v-1", settings(tmp_path))
    with pytest.raises(UserError, match=r"5 bytes[\s\S]*No such file"):
        activations.main(["record", *common, "--shard", "0"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_every_stored_type_reads_back_what_torch_rounds_to(tmp_path, dtype):
    values = torch.randn(5, 7, generator=torch.manual_seed(0))
    stream = Stream("pooled", 7, 1, "pooled", None)
    stored = forward.stored(values, dtype, stream, list(range(5)))
    assert np.array_equal(
        to_float32(stored, dtype), values.to(getattr(torch, dtype)).float().numpy()
    )


def test_values_that_the_type_cannot_hold_are_refused_with_stream_row_and_remedy():
    stream = Stream("layer-03.cls", 2, 1, "cls", 3)
    values = torch.tensor([[1.0, 2.0], [70_000.0, 0.0]])
    with pytest.raises(UserError, match=r"70,000 of layer-03\.cls, row 9,.*set dtype to float32"):
        forward.stored(values, "float16", stream, [4, 9])
    assert forward.stored(values, "bfloat16", stream, [4, 9]).dtype == np.uint16
    with pytest.raises(UserError, match=r"NaN or infinite values \(layer-03\.cls, row 9\)"):
        forward.stored(values.log(), "float32", stream, [4, 9])


def test_a_disk_that_is_too_small_is_found_before_recording(skipped, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=10**6)
    monkeypatch.setattr("saev.activations.recording.shutil.disk_usage", lambda path: usage)
    common = arguments(skipped.listed, tmp_path / "v-1", skipped.vit)
    with pytest.raises(
        UserError, match=r"67\.\d MB are needed for the 600 images.* 1\.0 MB are free"
    ):
        activations.main(["record", *common, "--shard", "0"])
    assert not (tmp_path / "v-1").exists()


def copied(skipped, tmp_path):
    out = tmp_path / "p-1" / "v-1"
    shutil.copytree(skipped.listed, out.parent)
    return out


@pytest.mark.parametrize("name", ["layer-01.cls", "layer-01.patches", "pooled"])
def test_a_truncated_shard_is_found_by_seal_and_by_the_reader(skipped, tmp_path, name):
    out = copied(skipped, tmp_path)
    path = out / name / "shard-00001.npy"
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(UserError, match=r"shard-00001.npy has .* bytes, not"):
        activations.main(["seal", *arguments(out.parent, out, skipped.vit)])
    acts = Activations(out)
    acts.read(acts.streams[name], 0, 256)
    with pytest.raises(UserError, match="has changed since it was sealed"):
        acts.read(acts.streams[name], 0, 257 + 3)


def test_an_altered_byte_is_found_by_its_sha256(skipped, tmp_path):
    out = copied(skipped, tmp_path)
    path = out / "pooled" / "shard-00002.npy"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    acts = Activations(out, verify="sha256")
    with pytest.raises(UserError, match="another SHA-256"):
        acts.read(acts.stream(None, "pooled"), 512, 600)
    sidecar = out / "shards" / "00002.json"
    sidecar.write_text(sidecar.read_text().replace('"skipped": 1', '"skipped": 2'))
    with pytest.raises(UserError, match="was altered"):
        Activations(out)


def test_rows_are_hashed_and_a_damaged_header_is_named_however_arrays_are_checked(
    skipped, tmp_path
):
    out = copied(skipped, tmp_path)
    for name, at, said in (
        ("rows/shard-00000.rows.npy", 200, "rows.npy has another SHA-256"),
        ("pooled/shard-00000.npy", 0, "shard-00000.npy doesn't begin as an array does"),
    ):
        path = out / name
        whole = path.read_bytes()
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        acts = Activations(out, verify="size")
        with pytest.raises(UserError, match=said):
            acts.read(acts.stream(None, "pooled"), 0, 8)
        path.write_bytes(whole)
    rows = out / "rows/shard-00000.rows.npy"
    rows.write_bytes(rows.read_bytes()[:-1] + b"\1")
    assert any("rows.npy has another SHA-256" in one.text for one in check(out.parent.parent)[0])


def test_seal_refuses_missing_shards_other_listings_and_lost_rows(skipped, tmp_path):
    out = copied(skipped, tmp_path)
    common = arguments(out.parent, out, skipped.vit)
    sidecar = out / "shards" / "00001.json"
    text = sidecar.read_text()
    sidecar.unlink()
    with pytest.raises(UserError, match=r"1 shards aren't recorded:\n  - .*00001\.json"):
        activations.main(["seal", *common])
    held = json.loads(text)
    for key, value, message in (
        ("images", "0" * 64, "another listing"),
        ("start", 0, "other settings"),
        ("tower", held["tower"] | {"weights_sha256": "0" * 64}, "another tower"),
    ):
        sidecar.write_text(json.dumps(held | {key: value}))
        with pytest.raises(UserError, match=message):
            activations.main(["seal", *common])
    sidecar.write_text(text)
    rows = out / "rows" / "shard-00001.rows.npy"
    shifted = np.load(rows)
    shifted[-1] -= 1
    np.save(rows, shifted)
    with pytest.raises(UserError, match=r"shard-00001\.rows\.npy has another SHA-256"):
        activations.main(["seal", *common])
    (entry,) = (e for e in held["files"] if e["name"] == "rows/shard-00001.rows.npy")
    entry |= {"bytes": rows.stat().st_size, "sha256": sha256_file(rows)}
    sidecar.write_text(json.dumps(held))
    with pytest.raises(UserError, match="disagree"):
        activations.main(["seal", *common])


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5, 3), (4097, 33), (8200, 64)])
def test_moments_have_the_bits_of_numpy(shape):
    vectors = np.random.default_rng(0).standard_normal(shape, np.float32) * 3 + 1
    found, expected = Moments.of(vectors), Moments.empty(shape[1])
    for start in range(0, len(vectors), CHUNK):
        x = vectors[start : start + CHUNK].astype(np.float64)
        mean = x.mean(axis=0)
        m2, low, high = np.square(x - mean).sum(axis=0), x.min(axis=0), x.max(axis=0)
        norms = float(np.sqrt(np.square(x).sum(axis=1)).sum())
        expected = expected.merged(Moments(len(x), mean, m2, low, high, norms))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_seal_says_which_dimension_holds_most_of_the_variance():
    from saev.activations.seal import _sanity

    vectors = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    vectors[:, 2] *= 30
    vectors[:, 3] = 7
    figures = _sanity(Moments.of(vectors))
    assert figures["n_constant_dimensions"] == 1
    assert figures["top_dimension"] == 2
