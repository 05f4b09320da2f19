"""What training sees: each vector once an epoch, in one order, from memory and from files."""

import json
import threading

import numpy as np
import pytest
import torch
from synthetic import encoded, planted, write_activations

from saev.activations.artifact import Activations, to_float32
from saev.core.errors import UserError
from saev.train import __main__ as train
from saev.train import loader, memory, order, reading
from saev.train.gather import Buffers, take_rows
from saev.train.split import split_images
from saev.train.trainer import widened

KINDS = [loader.InMemory, loader.Streamed]
ABSENT = (0, 7, 255, 256, 511, 599)


@pytest.fixture
def small(monkeypatch):
    """Blocks and windows so small that few images fill many of both."""
    monkeypatch.setattr(order, "BLOCK_VECTORS", 40)
    monkeypatch.setattr(order, "WINDOW_VECTORS", 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards, absent images at their edges."""
    return encoded(tmp_path_factory.mktemp("e") / "vit", absent=ABSENT)


def opened(kind, folder, held_out=0.25):
    reader = Activations(folder)
    split = split_images(reader, held_out, 3)
    return kind(reader, reader.stream(0, "patches"), split.training), split


def ids(batches):
    """(m, 2) rows and patches that the batches hold, in order."""
    return np.concatenate(list(batches))[:, :2].astype(int)


def reading_threads():
    return [t for t in threading.enumerate() if t.name == "read ahead"]


# Each vector once.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("windows", ["one", "several"])
def test_every_training_vector_comes_once_an_epoch_and_no_held_out_one_ever(
    kind, windows, folder, request
):
    if windows == "several":
        request.getfixturevalue("small")
    vectors, split = opened(kind, folder)
    assert not set(split.training) & set(split.held_out)
    assert len(split.training) + len(split.held_out) == 600 - len(ABSENT)
    seen = ids(loader.batches(vectors, 50, 9, 0, 3 * vectors.n // 50))
    expected = {(row, patch) for row in split.training for patch in range(3)}
    for epoch in range(2):
        found = [tuple(v) for v in seen[epoch * vectors.n : (epoch + 1) * vectors.n]]
        assert len(found) == len(expected)
        assert set(found) == expected
    assert set(seen[:, 0]) <= set(split.training)


@pytest.mark.parametrize("n", [1, 39, 40, 299, 300, 301, 340, 2011])
def test_the_windows_of_an_epoch_hold_each_index_once(n, small):
    found = [window.indices() for window in order.epoch_windows(n, 5, 2)]
    assert sorted(np.concatenate(found)) == list(range(n))
    assert max(map(len, found)) <= 300
    # None is a handful of neighbours, which would make batches of few images.
    assert len(found) == 1 or min(map(len, found)) >= 100


# One order.
@pytest.mark.parametrize("held_out", [0.0, 0.25, 0.9])
def test_vectors_read_from_files_come_in_the_same_order_as_those_in_memory(held_out, folder, small):
    whole, read = (
        list(loader.batches(opened(kind, folder, held_out)[0], 64, 5, 0, 60)) for kind in KINDS
    )
    assert all(map(np.array_equal, whole, read))


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_in_a_window_comes_in_the_documented_permutation(kind, folder):
    vectors, split = opened(kind, folder)
    expected = np.random.default_rng([5, 0]).permutation(vectors.n)[:64]
    found = ids(loader.batches(vectors, 64, 5, 0, 1))
    assert np.array_equal(found, np.stack([split.training[expected // 3], expected % 3], 1))


def test_windows_are_filled_by_permuted_blocks_and_permuted_as_a_whole(small):
    # The documented order, written in another way.
    n, blocks = 1000, np.random.default_rng([5, 2]).permutation(25)
    expected = []
    for i, part in enumerate(np.array_split(blocks, 4)):
        laid = np.concatenate([np.arange(1000).reshape(25, 40)[block] for block in part])
        expected.append(np.random.default_rng([5, 2, 3, i]).permutation(laid))
    found = np.concatenate([window.indices() for window in order.epoch_windows(n, 5, 2)])
    assert np.array_equal(found, np.concatenate(expected))


def test_the_constants_of_the_order_are_those_that_results_were_made_with():
    assert (order.BLOCK_VECTORS, order.WINDOW_VECTORS) == (2048, 262_144)


@pytest.mark.parametrize("n", [200, 2000])
def test_each_epoch_has_an_order_of_its_own_that_seed_and_epoch_alone_decide(n, small):
    def epoch(seed, number):
        windows = order.windows(n, seed, number * n, (number + 1) * n)
        return np.concatenate([window.indices() for window in windows])

    first = epoch(0, 0)
    assert np.array_equal(first, epoch(0, 0))
    for other in (epoch(0, 1), epoch(1, 0)):
        assert sorted(other) == list(range(n))
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [7, 64, 5000])
@pytest.mark.parametrize("windows", ["one", "several"])
def test_a_step_sees_the_same_batch_whatever_step_came_first(
    windows, batch_size, kind, folder, request
):
    if windows == "several":
        request.getfixturevalue("small")
    vectors, _ = opened(kind, folder)
    whole = list(loader.batches(vectors, batch_size, 1, 0, 300 if batch_size < 100 else 3))
    assert all(len(batch) == batch_size for batch in whole)
    for first in (1, 2, len(whole) // 2, len(whole) - 1):
        resumed = list(loader.batches(vectors, batch_size, 1, first, len(whole)))
        assert len(resumed) == len(whole) - first
        assert all(map(np.array_equal, resumed, whole[first:]))


# Bytes.
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_stored_type_is_read_as_what_was_written(kind, dtype, tmp_path):
    values = np.arange(60, dtype=np.float64).reshape(10, 6)
    reader = Activations(write_activations(tmp_path / "t", {"pooled": values}, dtype=dtype))
    vectors = kind(reader, reader.stream(None, "pooled"), np.arange(2, 10))
    found = vectors.gather(np.array([7, 0]))
    assert found.dtype == np.float32
    assert np.array_equal(found, values[[9, 2]])
    batch = next(loader.batches(vectors, 8, 0, 0, 1))
    assert np.array_equal(batch, values[2:][np.random.default_rng([0, 0]).permutation(8)])


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_can_be_gathered_in_any_order(kind, folder):
    vectors, split = opened(kind, folder)
    chosen = np.random.default_rng(0).integers(0, vectors.n, 500)
    expected = np.stack([split.training[chosen // 3], chosen % 3], 1)
    assert np.array_equal(vectors.gather(chosen)[:, :2], expected)


def test_every_float16_is_converted_as_numpy_does():
    values = np.arange(65536, dtype=np.uint16).view(np.float16)[:, None]
    out = np.empty((65536, 1), np.float32)
    take_rows(values, np.arange(65536), "float16", out)
    expected = values.astype(np.float32)
    assert np.array_equal(out, expected, equal_nan=True)
    assert np.array_equal(np.signbit(out), np.signbit(expected))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half_number_is_widened_on_a_device_as_on_the_host(dtype):
    values = np.arange(65536, dtype=np.uint16)[:, None]
    stored = values.view(np.float16) if dtype == "float16" else values
    out = np.empty((65536, 1), np.float32)
    take_rows(stored, np.arange(65536), dtype, out)
    held = torch.from_numpy(stored if dtype == "float16" else stored.view(np.int16))
    assert np.array_equal(widened(held).numpy(), out, equal_nan=True)
    whole = torch.ones(2, dtype=torch.float64)
    assert widened(whole) is whole


def test_batches_for_a_gpu_are_the_others_as_they_are_stored(folder):
    vectors = opened(loader.InMemory, folder)[0]
    plain = list(loader.batches(vectors, 64, 5, 3, 9))
    stored = list(loader.batches(vectors, 64, 5, 3, 9, for_gpu=True))
    assert {batch.dtype for batch in stored} == {vectors.values.dtype}
    for one, other in zip(plain, stored, strict=True):
        assert np.array_equal(one, to_float32(other, vectors.dtype))


def test_an_index_beyond_the_vectors_is_an_error():
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            take_rows(np.zeros((3, 2), np.float32), np.array([wrong]), "float32", np.empty((1, 2)))


def test_runs_of_images_are_ranges_of_vectors_that_start_and_end_within_an_image():
    positions = np.array([0, 1, 4, 5, 9])
    assert list(reading._runs(positions, 3, 0, 15)) == [(0, 6), (12, 18), (27, 30)]
    assert list(reading._runs(positions, 3, 2, 10)) == [(2, 6), (12, 16)]
    assert list(reading._runs(positions, 3, 4, 5)) == [(4, 5)]


def test_a_read_that_returns_less_than_asked_is_continued(folder, small, monkeypatch):
    whole = ids(loader.batches(opened(loader.InMemory, folder)[0], 50, 1, 0, 20))
    original, sizes = reading.Reader._file, []

    class Short:
        def __init__(self, file):
            self.seek, self.fileno, self.file = file.seek, file.fileno, file

        def readinto(self, out):
            sizes.append(self.file.readinto(out[:37]))
            return sizes[-1]

    monkeypatch.setattr(reading.Reader, "_file", lambda self, path: Short(original(self, path)))
    found = ids(loader.batches(opened(loader.Streamed, folder)[0], 50, 1, 0, 20))
    assert np.array_equal(whole, found)
    assert sizes.count(37) > 100


# Buffers.
def test_a_batch_that_is_kept_keeps_its_content_and_one_let_go_is_used_again(folder):
    vectors, _ = opened(loader.InMemory, folder)
    kept, places, before = [], set(), []
    for i, batch in enumerate(loader.batches(vectors, 16, 0, 0, 40)):
        places.add(batch.ctypes.data)
        if i in (3, 4, 20):
            kept.append(batch[2:])  # a view holds it too
            before.append(batch[2:].copy())
    assert all(map(np.array_equal, kept, before))
    assert len(places) <= 2 + len(kept)


def test_buffers_that_others_hold_are_not_kept():
    buffers = Buffers((2, 2))
    held = [buffers.take() for _ in range(9)]
    assert len({array.ctypes.data for array in held}) == 9
    assert len(buffers.arrays) <= 2


# The thread.
def test_memory_is_that_of_two_windows(folder, small, monkeypatch):
    made = []
    original = reading.Files.empty
    monkeypatch.setattr(
        reading.Files, "empty", lambda self, n: (made.append(n), original(self, n))[1]
    )
    vectors, _ = opened(loader.Streamed, folder)
    ids(loader.batches(vectors, 50, 1, 0, 60))
    assert sum(made) == 2 * 300


def test_an_error_of_the_reading_thread_is_raised_where_batches_are_asked_for(folder, small):
    vectors, _ = opened(loader.Streamed, folder)
    path = vectors.files.parts[1].path
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-200])
        with pytest.raises(OSError, match=r"shard-00001\.npy ends at byte"):
            ids(loader.batches(vectors, 50, 1, 0, 60))
    finally:
        path.write_bytes(content)
    assert not reading_threads()


def test_the_thread_ends_with_the_iterator(folder, small):
    vectors, _ = opened(loader.Streamed, folder)
    batches = loader.batches(vectors, 50, 1, 0, 10_000)
    next(batches)
    assert reading_threads()
    batches.close()
    assert not reading_threads()
    ids(loader.batches(vectors, 50, 1, 0, 3))
    assert not reading_threads()


# The setting.
def test_data_is_in_memory_if_the_setting_says_so_or_it_has_room(folder, small, monkeypatch):
    reader = Activations(folder)
    arguments = reader, reader.stream(0, "patches"), reader.rows(0, 600)
    size = 594 * 3 * 4 * 4
    for free, expected in ((2 * size, loader.InMemory), (2 * size - 2, loader.Streamed)):
        monkeypatch.setattr(loader, "free_memory", lambda mem_mb, free=free: free)
        assert isinstance(loader.load(*arguments), expected)
        assert isinstance(loader.load(*arguments, processes=2), loader.Streamed)
        assert isinstance(loader.load(*arguments, "always"), loader.InMemory)
        assert isinstance(loader.load(*arguments, "never"), loader.Streamed)
    # Two windows take as much as all of it.
    monkeypatch.setattr(order, "WINDOW_VECTORS", 2000)
    monkeypatch.setattr(loader, "free_memory", lambda mem_mb: 0)
    assert isinstance(loader.load(*arguments), loader.InMemory)


def test_limits_of_control_groups_count_as_the_memory_of_the_machine(tmp_path):
    def group(name, limit, used, inactive):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "memory.max").write_text(f"{limit}\n")
        (tmp_path / name / "memory.current").write_text(f"{used}\n")
        (tmp_path / name / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")

    group("groups", "max", 10_000, 0)
    group("groups/job", 5000, 3000, 1000)
    group("groups/job/step", 4000, 2500, 200)
    memberships = tmp_path / "cgroup"
    memberships.write_text("3:cpu:/other\n0::/job/step\n")
    left = memory._left_of_groups(memberships, tmp_path / "groups")
    assert list(left) == [4000 - 2500 + 200, 5000 - 3000 + 1000]
    memberships.write_text("0::/gone\n")
    assert list(memory._left_of_groups(memberships, tmp_path / "groups")) == []
    assert list(memory._left_of_groups(tmp_path / "none", tmp_path / "groups")) == []
    assert memory.free_memory() > 0


def test_limits_of_the_first_version_of_control_groups_count_too(tmp_path):
    def group(name, limit, used, inactive):
        folder = tmp_path / "groups/memory" / name
        folder.mkdir(parents=True)
        (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file {inactive}\n")

    group("", 2**63 - 4096, 10_000, 0)
    group("slurm/job_5", 5000, 3000, 1000)
    memberships = tmp_path / "cgroup"
    memberships.write_text("12:cpu:/x\n9:hugetlb,memory:/slurm/job_5\n1:name=systemd:/\n0::/\n")
    left = memory._left_of_groups(memberships, tmp_path / "groups")
    assert list(left) == [5000 - 3000 + 1000, 2**63 - 4096 - 10_000]


def test_a_job_knows_the_memory_that_a_scheduler_gave_it():
    taken = memory._taken()
    assert 10_000_000 < taken < 100_000_000_000
    given = taken // 1_000_000 + 300
    assert 200_000_000 < memory.free_memory(given) < 310_000_000
    assert memory.free_memory(10) == 0


def test_too_little_memory_for_always_is_said_with_sizes(folder, monkeypatch):
    reader = Activations(folder)
    monkeypatch.setattr(loader, "free_memory", lambda mem_mb: 1000)
    with pytest.raises(UserError, match=r"data_in_memory is always, but 1,782 vectors .* GiB"):
        loader.load(reader, reader.stream(0, "patches"), reader.rows(0, 600), "always")


@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_where_the_data_lies_changes_no_byte_of_a_training(tokens, small, tmp_path, monkeypatch):
    vectors, _ = planted(600 * 4, 16, 40, 3, 0.05)
    streams = {"layer-01.cls": vectors[:600], "layer-01.patches": vectors.reshape(600, 4, 16)}
    folder = write_activations(tmp_path / "vit", streams, absent=(3, 580))
    settings = {
        "architecture": "topk", "layer": 1, "tokens": tokens, "n_latents": 64, "k": 2,
        "aux_k": 4, "aux_coefficient": 0.03,
        "batch_size": 64, "epochs": 2.0, "held_out": 0.2, "log_every": 5, "lr": 0.003,
    }  # fmt: skip
    spec = json.dumps({"settings": settings, "code": "c0de"})
    used, found = [], []
    for kind in KINDS:
        original = kind.opened
        monkeypatch.setattr(
            kind, "opened", lambda self, w, f=original: (used.append(type(self)), f(self, w))[1]
        )
    for where in ("always", "never"):
        plan, out = tmp_path / f"{where}.json", tmp_path / where / "s"
        plan.write_text(json.dumps({"compute": {"data_in_memory": where, "wandb": "disabled"}}))
        monkeypatch.setenv("SAEV_PLAN", str(plan))
        train.main(
            ["--spec", spec, "--activations", str(folder), "--out", str(out), "--threads", "1"]
        )
        found.append(
            [(out / name).read_bytes() for name in ("checkpoint.safetensors", "train.jsonl")]
        )
    assert used == KINDS
    assert found[0] == found[1]
