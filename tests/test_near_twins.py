"""Images that the tower sees nearly alike are found, said, and kept on one side of the split."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from project import TOWER, draw_pictures
from recording import arguments, list_images, record, settings, write_pictures

from saev.activations import __main__ as activations
from saev.activations import near_twins
from saev.activations.artifact import Stream, compared, to_float32
from saev.activations.near_twins import (
    ORDERS,
    Groups,
    NearTwins,
    SoughtVectors,
    find_near_twins,
    standardised,
)
from saev.activations.twins import find_twins, joined_twins, twins_doubts
from saev.core.errors import UserError
from saev.images.artifact import Images

NONE = np.empty(0, np.int64)


def held(values, rows=None, piece=1000):
    """Vectors in memory, with the statistics of all."""
    values = values.astype(np.float32)
    rows = np.arange(len(values)) if rows is None else rows
    wide = values.astype(np.float64)
    parts = [slice(at, at + piece) for at in range(0, len(rows), piece)]
    none = np.zeros(values.shape[1])
    return SoughtVectors(
        lambda: ((rows[part], values[part]) for part in parts),
        lambda wanted: values[np.searchsorted(rows, wanted)],
        wide.mean(axis=0) if len(wide) else none,
        wide.std(axis=0) if len(wide) else none,
    )


def unlike(n, d=48, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def with_near_copies(n=3000, copies=60, noise=0.15):
    """Unlike vectors, the last of which are the first ones with a little noise."""
    values = unlike(n)
    values[-copies:] = values[:copies] + noise * unlike(copies, seed=1)
    return values, [[n - copies + i, i] for i in range(copies)]


def test_near_copies_are_found_and_nothing_else():
    values, copies = with_near_copies()
    found = find_near_twins(held(values), NONE)
    assert found.pairs.tolist() == copies
    assert found.cosine == near_twins.COSINE
    assert found.n_directions == pytest.approx(48, rel=0.1)
    assert found.n_crowded == 0


def test_what_all_vectors_share_makes_no_near_twins():
    values, copies = with_near_copies()
    shared = values + 1000
    shared[:, 3] *= 200
    shared[:, 7] = 5
    assert find_near_twins(held(shared), NONE).pairs.tolist() == copies


def test_one_outlying_dimension_makes_no_near_twins():
    values = unlike(2000)
    values[:2, 5] = 400
    assert find_near_twins(held(values), NONE).pairs.tolist() == []


def test_vectors_that_are_all_equal_are_near_twins():
    for n in (2, 500):
        found = find_near_twins(held(np.tile(unlike(1), (n, 1))), NONE)
        assert found.pairs.tolist() == [[row, 0] for row in range(1, n)]
        assert found.n_crowded == 0


def test_near_copies_that_look_like_the_mean_are_near_twins():
    half = unlike(1000)
    values = np.concatenate([half, -half, np.zeros((30, 48))])
    found = find_near_twins(held(values), NONE)
    assert found.pairs.tolist() == [[row, 2000] for row in range(2001, 2030)]


def test_near_copies_do_not_depend_on_how_vectors_are_read():
    values, copies = with_near_copies(n=1500)
    rows = np.arange(1500) * 3 + 1
    expected = [[3 * a + 1, 3 * b + 1] for a, b in copies]
    for piece in (97, 4000):
        assert find_near_twins(held(values, rows, piece), NONE).pairs.tolist() == expected


def test_vectors_that_vary_in_few_directions_are_near_twins_only_if_they_are_equal():
    few = unlike(2000, d=3) @ unlike(3, d=48, seed=2)
    found = find_near_twins(held(few), NONE)
    assert found.pairs.tolist() == []
    assert found.n_directions < 4
    few[1500] = few[20]
    assert find_near_twins(held(few), NONE).pairs.tolist() == [[1500, 20]]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_so_few_images_have_no_near_twins(n):
    assert find_near_twins(held(unlike(n) if n else np.empty((0, 8))), NONE).pairs.shape == (0, 2)


def test_images_that_are_left_out_are_not_compared():
    values, copies = with_near_copies()
    left_out = np.array([row for row, _ in copies[:10]])
    assert find_near_twins(held(values), left_out).pairs.tolist() == copies[10:]


def test_a_crowd_of_near_copies_is_one_group_after_few_comparisons(monkeypatch):
    values = unlike(3000)
    values[1000:2000] = values[500] + 0.05 * unlike(1000, seed=1)
    compared_pairs = []
    cosines = near_twins._cosines

    def counted(vectors, rows, one, other):
        compared_pairs.append(len(one))
        return cosines(vectors, rows, one, other)

    monkeypatch.setattr(near_twins, "_cosines", counted)
    monkeypatch.setattr(near_twins, "PIECE", 300)
    monkeypatch.setattr(near_twins, "PAIRS", 70)
    found = find_near_twins(held(values), NONE)
    assert found.pairs.tolist() == [[row, 500] for row in range(1000, 2000)]
    assert sum(compared_pairs) < ORDERS * 3000


def test_pairs_to_compare_do_not_depend_on_how_many_are_looked_at_at_a_time(monkeypatch):
    signs = np.random.default_rng(0).integers(0, 2**63, (200, near_twins.WORDS)).astype(np.uint64)
    order, crowded = np.random.default_rng(1).permutation(200), np.zeros((2, 200), bool)
    found = []
    for marked, piece in zip(crowded, (1000, 7), strict=True):
        monkeypatch.setattr(near_twins, "PIECE", piece)
        parts = list(near_twins._candidates(signs, order, 118, marked))
        found.append(np.stack([np.concatenate(side) for side in zip(*parts, strict=True)]))
    assert 50 < found[0].shape[1] < 199
    assert np.array_equal(*found)
    assert np.array_equal(*crowded)


def test_images_that_resemble_too_many_others_are_counted(monkeypatch):
    values = unlike(2000, d=400)
    values[:300] = values[0] + 0.5 * unlike(300, d=400, seed=1)
    vectors = held(values)
    monkeypatch.setattr(near_twins, "_near", lambda cosine: 110)
    found = find_near_twins(vectors, NONE)
    assert found.pairs.tolist() == []
    assert 200 < found.n_crowded < 500


def test_groups_join_across_pairs_in_any_order():
    groups = Groups(8)
    groups.join(np.array([5, 6, 1]), np.array([6, 7, 2]))
    groups.join(np.array([2, 3]), np.array([7, 3]))
    assert groups.stands.tolist() == [0, 1, 1, 3, 4, 1, 1, 1]


def test_standardised_vectors_are_small_integers():
    values = np.array([[1e30, 0, -3.0], [0, 0, 3.001]], np.float32)
    steps = standardised(values, np.zeros(3), np.array([1.0, 0.0, 1.0]))
    assert steps.tolist() == [[512, 0, -192], [0, 0, 192]]


def test_copies_and_near_twins_have_the_first_image_of_their_group():
    copies = np.array([[4, 2], [6, 5], [7, 2]])
    assert joined_twins(copies, np.array([[2, 1], [8, 5]])).tolist() == [
        [2, 1],
        [4, 1],
        [6, 5],
        [7, 1],
        [8, 5],
    ]
    assert joined_twins(find_twins([]), np.empty((0, 2), np.int64)).shape == (0, 2)


def test_twins_that_make_a_split_doubtful_are_said():
    few = NearTwins(np.empty((0, 2), np.int64), 0.95, 40.0, 0)
    pairs = np.array([[row, 3] for row in range(10, 60)] + [[70, 1]])
    assert twins_doubts(pairs, few, 2000) == []
    assert twins_doubts(np.empty((0, 2), np.int64), few, 0) == []
    (large,) = twins_doubts(pairs, few, 500)
    assert "51 of 500 images are copies or near-copies of one another" in large
    blind, crowded = twins_doubts(pairs, NearTwins(pairs, 0.9999, 3.5, 1200), 2000)
    assert "vary in only 3.5 directions" in blind
    assert "1,200 images resemble more others" in crowded


def test_near_twins_are_sought_in_patches_then_the_output_then_the_deepest_class_token():
    shallow, deep = (Stream(f"layer-{i:02}.cls", 8, 1, "cls", i) for i in (1, 5))
    patches, pooled = Stream("layer-05.patches", 8, 9, "patches", 5), Stream("pooled", 4, 1, "", 0)
    pooled = pooled._replace(kind="pooled", layer=None)
    assert compared([deep, shallow]) == deep
    assert compared([deep, pooled, shallow]) == pooled
    assert compared([deep, pooled, patches]) == Stream("means", 8, 1, "means", 5)


def recorded(tmp_path, pictures, **more):
    listed = list_images(pictures, tmp_path / "results" / "pets-00000000")
    (tmp_path / "tower.json").write_text(json.dumps(TOWER))
    vit = settings(tmp_path, model=str(tmp_path / "tower.json"), **more)
    return listed, record(listed, listed / "tiny-00000000", vit, range(-(-len_of(listed) // 256)))


def len_of(listed):
    return Images(listed).n_images


@pytest.mark.parametrize("tokens", [["patches"], ["cls"], ["pooled"]])
def test_pictures_of_one_kind_are_no_near_twins_to_an_untrained_tower(tmp_path, tokens):
    draw_pictures(tmp_path / "pictures", 300)
    layers = [] if tokens == ["pooled"] else [1]
    _, reader = recorded(tmp_path, tmp_path / "pictures", tokens=tokens, layers=layers)
    assert reader.meta["summary"]["n_near_twins"] == 0
    assert reader.twins.shape == (0, 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sealing_finds_pictures_that_were_saved_again_and_says_so(tmp_path, caplog, dtype):
    caplog.set_level("INFO")
    pictures = tmp_path / "pictures"
    write_pictures(pictures, 40)
    for name in ("a/0002.png", "b/0005.png", "b/0007.png"):
        Image.open(pictures / name).save(pictures / "b" / f"x{name[2:-4]}.bmp")
    shutil.copy(pictures / "b/x0005.bmp", pictures / "b/y.bmp")
    listed, reader = recorded(tmp_path, pictures, dtype=dtype)
    summary = reader.meta["summary"]
    assert (summary["n_twins"], summary["n_near_twins"]) == (1, 3)
    assert summary["near_twins"]["stream"] == "means"
    assert "43 images" not in caplog.text
    assert "1 is copies" not in caplog.text
    assert "1 is a copy of another, 3 are near-copies of others" in caplog.text
    keys = [entry.key for entry in Images(listed).read(0, 44)]
    groups = {keys[row]: keys[first] for row, first in reader.twins.tolist()}
    assert groups == {
        "b/x0002.bmp": "a/0002.png",
        "b/x0005.bmp": "b/0005.png",
        "b/x0007.bmp": "b/0007.png",
        "b/y.bmp": "b/0005.png",
    }
    for seed in range(8):
        sides = dict(zip(keys, reader.held_out(np.arange(44), 0.5, seed), strict=True))
        assert all(sides[row] == sides[first] for row, first in groups.items())


def test_recordings_with_patches_keep_the_mean_of_each_image_and_no_other(tmp_path):
    write_pictures(tmp_path / "pictures", 20)
    for dtype in ("float16", "bfloat16", "float32"):
        folder = tmp_path / dtype
        folder.mkdir()
        _, reader = recorded(folder, tmp_path / "pictures", dtype=dtype, layers=[0, 1])
        means = to_float32(np.load(reader.path / "means" / "shard-00000.npy"), dtype)
        _, patches = reader.read(reader.streams["layer-01.patches"], 0, 20)
        exact = to_float32(patches, dtype).mean(axis=1)
        assert means.shape == (20, 32)
        assert np.abs(means - exact).max() <= np.abs(exact).max() * 2.0**-8
        assert "means" not in reader.streams
    folder = tmp_path / "cls"
    folder.mkdir()
    _, reader = recorded(folder, tmp_path / "pictures", tokens=["cls"])
    assert not (reader.path / "means").exists()


def test_a_shard_without_means_is_named_before_anything_is_sealed(tmp_path):
    write_pictures(tmp_path / "pictures", 20)
    listed, reader = recorded(tmp_path, tmp_path / "pictures")
    sidecar = reader.path / "shards" / "00000.json"
    content = json.loads(sidecar.read_text())
    content["files"] = [f for f in content["files"] if not f["name"].startswith("means/")]
    sidecar.write_text(json.dumps(content))
    vit = settings(tmp_path, model=str(tmp_path / "tower.json"))
    with pytest.raises((UserError, SystemExit)) as refused:
        activations.main(["seal", *arguments(listed, reader.path, vit)])
    assert "earlier version" in str(refused.value)
