"""What training sees: every training vector once an epoch, in a known order, and no held-out one."""

import numpy as np
import pytest
from synthetic import write_activations
from trained import TOPK, run

from saev import train
from saev.artifacts.activations import Activations
from saev.blocks import held_out_mask
from saev.training import data


def encoded(tmp_path, **options):
    """Activations that hold their own row (and patch): [row, patch, 0, …] in float32."""
    values = np.zeros((600, 3, 4))
    values[..., 0] = np.arange(600)[:, None]
    values[..., 1] = np.arange(3)
    streams = {"layer-00.patches": values}
    return write_activations(tmp_path / "e", streams, dtype="float32", **options)


@pytest.mark.parametrize("kind", [data.InMemory, data.Mapped])
def test_every_training_vector_comes_once_an_epoch_and_no_held_out_one_ever(kind, tmp_path):
    reader = Activations(encoded(tmp_path, absent=(0, 255, 256, 599)))
    split = data.split_images(reader, 0.25, 3)
    assert not set(split.training) & set(split.held_out)
    assert len(split.training) + len(split.held_out) == 596
    vectors = kind(reader, reader.stream(0, "patches"), split.training)
    size = 50
    n_steps = 3 * vectors.n // size
    seen = np.concatenate(list(data.batches(vectors, size, 9, 0, n_steps)))
    assert seen.dtype == np.float32
    expected = {(row, patch) for row in split.training for patch in range(3)}
    for epoch in range(2):
        part = seen[epoch * vectors.n : (epoch + 1) * vectors.n]
        found = [(int(v[0]), int(v[1])) for v in part]
        assert len(found) == len(expected)
        assert set(found) == expected
    assert set(seen[:, 0].astype(int)) <= set(split.training)


def test_the_trainer_is_given_no_held_out_image(activations, tmp_path, monkeypatch):
    folder = encoded(tmp_path)
    seen = []
    original = train.Trainer.train

    def recording(self, x):
        seen.append(x.copy())
        return original(self, x)

    monkeypatch.setattr(train.Trainer, "train", recording)
    run(TOPK | {"layer": 0, "tokens": "patches", "epochs": 2.0}, folder, tmp_path / "s")
    rows = np.unique(np.concatenate(seen)[:, 0].astype(int))
    assert np.array_equal(rows, np.flatnonzero(~held_out_mask(np.arange(600), 0.2, 0)))


def test_the_order_is_the_documented_permutation_in_memory_and_mapped(tmp_path):
    reader = Activations(encoded(tmp_path, absent=(7,)))
    rows = reader.rows(0, 600)
    stream = reader.stream(0, "patches")
    order = np.random.default_rng([5, 0]).permutation(len(rows) * 3)[:64]
    expected = np.stack([rows[order // 3], order % 3], 1)
    batches = [
        next(data.batches(kind(reader, stream, rows), 64, 5, 0, 1))
        for kind in (data.InMemory, data.Mapped)
    ]
    assert np.array_equal(batches[0][:, :2], expected)
    assert np.array_equal(*batches)


@pytest.mark.parametrize("batch_size", [7, 64, 5000])
def test_a_step_sees_the_same_batch_whatever_step_came_first(batch_size, tmp_path):
    reader = Activations(encoded(tmp_path))
    vectors = data.InMemory(reader, reader.stream(0, "patches"), reader.rows(0, 600))
    whole = list(data.batches(vectors, batch_size, 1, 0, 300 if batch_size < 100 else 3))
    assert all(len(batch) == batch_size for batch in whole)
    for first in (1, 2, len(whole) - 1):
        resumed = list(data.batches(vectors, batch_size, 1, first, len(whole)))
        assert all(map(np.array_equal, resumed, whole[first:]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", [data.InMemory, data.Mapped])
def test_each_stored_type_is_read_as_what_was_written(kind, dtype, tmp_path):
    values = np.arange(60, dtype=np.float64).reshape(10, 6)
    folder = write_activations(tmp_path / "t", {"pooled": values}, dtype=dtype)
    reader = Activations(folder)
    vectors = kind(reader, reader.stream(None, "pooled"), np.arange(2, 10))
    found = vectors.gather(np.array([7, 0]))
    assert found.dtype == np.float32
    assert np.array_equal(found, values[[9, 2]])


def test_a_larger_data_set_than_memory_gives_the_same_bytes(
    activations, truth, tmp_path, monkeypatch
):
    monkeypatch.setattr(data, "MEMORY_SHARE", 0.0)
    assert run(TOPK, activations, tmp_path / "s") == truth["topk"]


def test_each_epoch_has_an_order_of_its_own_that_seed_and_epoch_alone_decide():
    class Numbers:
        n, d = 40, 1

        def gather(self, indices):
            return indices.astype(np.float32)[:, None]

    def epochs(seed):
        seen = np.concatenate(list(data.batches(Numbers(), 10, seed, 0, 12)))[:, 0]
        return seen.reshape(3, 40)

    first, second, third = epochs(0)
    for order in (first, second, third):
        assert sorted(order) == list(range(40))
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    np.testing.assert_array_equal(epochs(0), [first, second, third])
    assert not np.array_equal(epochs(1)[0], first)
