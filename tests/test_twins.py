"""Identical images are counted when recording is sealed, and stay on one side of the split."""

import hashlib
import shutil

import numpy as np
import pytest
from recording import list_images, record, settings, write_pictures
from synthetic import write_activations

from saev.activations.artifact import TWINS, Activations
from saev.activations.twins import find_twins, first_of
from saev.core.blocks import held_out_mask
from saev.images.artifact import Images
from saev.train.split import split_images


def digest(content):
    return hashlib.sha256(str(content).encode()).hexdigest()


def test_each_copy_is_paired_with_the_first_image_of_its_content():
    rows, contents = np.array([0, 1, 2, 5, 6, 7, 9]), "abacbab"
    pieces = [
        (rows[:3], [digest(c) for c in contents[:3]]),
        (rows[3:], [digest(c) for c in contents[3:]]),
    ]
    twins = find_twins(pieces)
    assert twins.tolist() == [[2, 0], [6, 1], [7, 0], [9, 1]]
    assert first_of(np.array([9, 5, 2, 0, 7, 6, 100]), twins).tolist() == [1, 5, 0, 0, 0, 1, 100]


@pytest.mark.parametrize("n", [0, 1, 50])
def test_without_copies_there_are_no_twins_and_rows_stay(n):
    twins = find_twins([(np.arange(n), [digest(i) for i in range(n)])])
    assert twins.shape == (0, 2)
    assert first_of(np.arange(7), twins).tolist() == list(range(7))


def test_the_split_keeps_twins_on_one_side_and_moves_no_other_image(tmp_path):
    folder = write_activations(tmp_path, {"layer-01.cls": np.zeros((400, 4), np.float32)})
    twins = np.array([[row + 200, row] for row in range(100)])
    np.save(folder / TWINS, twins)
    split = split_images(Activations(folder), 0.3, 5)
    held = np.isin(np.arange(400), split.held_out)
    assert np.array_equal(held[:100], held[200:300])
    assert len(split.training) + len(split.held_out) == 400
    alone = np.setdiff1d(np.arange(400), twins[:, 0])
    assert np.array_equal(held[alone], held_out_mask(alone, 0.3, 5))
    assert not np.array_equal(held, held_out_mask(np.arange(400), 0.3, 5))


def test_sealing_counts_copies_and_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 20)
    for name in ("a/0002.png", "b/0005.png"):
        shutil.copy(pictures / name, pictures / "b" / f"copy-of-{name[2:]}")
    listed = list_images(pictures, tmp_path / "results" / "pets-00000000")
    reader = record(listed, listed / "tiny-00000000", settings(tmp_path), range(1))
    assert reader.meta["summary"]["n_twins"] == 2
    assert "2 are copies of others" in caplog.text
    rows = np.arange(22)
    keys = [entry.key for entry in Images(listed).read(0, 22)]
    held = dict(zip(keys, reader.held_out(rows, 0.5, 3), strict=True))
    assert held["a/0002.png"] == held["b/copy-of-0002.png"]
    assert held["b/0005.png"] == held["b/copy-of-0005.png"]
